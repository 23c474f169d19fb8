"""The A1111 family keeps the embeddings of the loaded model here."""

from modules.shared import cmd_opts
from modules.textual_inversion import EmbeddingDatabase


class StableDiffusionModelHijack:
    def __init__(self) -> None:
        self.embedding_db = EmbeddingDatabase()
        self.embedding_db.add_embedding_dir(cmd_opts.embeddings_dir)
        self.embedding_db.load_textual_inversion_embeddings(force_reload=True)


model_hijack = StableDiffusionModelHijack()
