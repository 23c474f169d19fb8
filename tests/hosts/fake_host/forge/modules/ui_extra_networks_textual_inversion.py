"""Forge keeps the embeddings of the page here."""

from modules.shared import cmd_opts
from modules.textual_inversion import EmbeddingDatabase

embedding_db = EmbeddingDatabase()
embedding_db.add_embedding_dir(cmd_opts.embeddings_dir)
embedding_db.load_textual_inversion_embeddings(force_reload=True)
