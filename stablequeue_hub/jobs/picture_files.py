"""The pictures of jobs on disk: ``pictures/<job>/<fence>-<number>.png`` in the data folder.

A file is written whole before any row names it, and each claim has names of its own: what a runner sends
that lost its job lies beside the pictures that count, and is swept away with everything no row names.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stablequeue_client.shared.atomic_file import write_private
from stablequeue_client.shared.errors import DataFolderError, InvalidValueError, NotFoundError
from stablequeue_client.shared.generation.png_text import generation_text_of_png, is_whole_png, png_size

FOLDER = "pictures"


@dataclass(frozen=True)
class StagedPicture:
    """A picture that lies on disk. ``file``: below the pictures' folder. Sizes in pixels and bytes."""

    number: int
    file: str
    sha256: str
    size: int
    width: int
    height: int
    infotext: str


class PictureFiles:
    """The folder. ``job_id`` is always one that the database knows."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / FOLDER

    def stage(self, job_id: str, fence: int, number: int, data: bytes) -> StagedPicture:
        """Keep a picture that a runner sent. Raises InvalidValueError for what is no PNG, DataFolderError."""
        picture = _picture(number, _name(job_id, fence, number), data)
        path = self.folder / picture.file
        try:
            write_private(path, data)
        except OSError as error:
            raise DataFolderError(
                f"A picture cannot be stored in {self.folder}: {error.strerror}."
            ) from error
        with contextlib.suppress(OSError):  # earlier versions let others look into it
            self.folder.chmod(0o700)
        return picture

    def staged(self, job_id: str, fence: int, hashes: list[str]) -> list[StagedPicture]:
        """Return the pictures of a claim, which must have these hashes. Raises InvalidValueError."""
        found = []
        for number, sha256 in enumerate(hashes):
            file = _name(job_id, fence, number)
            try:
                data = (self.folder / file).read_bytes()
            except OSError:
                raise InvalidValueError(
                    f"Picture {number} was not received.", remedy="Send it, then finish the job again."
                ) from None
            picture = _picture(number, file, data)
            if picture.sha256 != sha256.lower():
                raise InvalidValueError(
                    f"Picture {number} arrived damaged.", remedy="Send it again, then finish the job."
                )
            found.append(picture)
        return found

    def remove_jobs(self, job_ids: Iterable[str]) -> None:
        """The pictures of jobs that were deleted. What cannot be removed now is left to the sweep."""
        for job_id in job_ids:
            shutil.rmtree(self.folder / job_id, ignore_errors=True)

    def remove(self, file: str) -> None:
        """A picture that does not count, and its job's folder if nothing else lies there. What cannot be
        removed now is left to the sweep."""
        path = self.folder / file
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            path.parent.rmdir()

    def read(self, file: str) -> bytes:
        """The bytes of a picture that a row names. Raises NotFoundError."""
        try:
            return (self.folder / file).read_bytes()
        except OSError:
            raise NotFoundError("The file of this picture is missing.") from None


def _name(job_id: str, fence: int, number: int) -> str:
    return f"{job_id}/{fence}-{number}.png"


def _picture(number: int, file: str, data: bytes) -> StagedPicture:
    size = png_size(data)
    if size is None or not is_whole_png(data):
        raise InvalidValueError(
            "This is not a complete PNG picture.", remedy="Send each picture in full, as PNG."
        )
    text = generation_text_of_png(data) or ""
    sha256 = hashlib.sha256(data).hexdigest()
    return StagedPicture(number, file, sha256, len(data), *size, text.replace("\x00", ""))
