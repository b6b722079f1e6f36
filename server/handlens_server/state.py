"""The state that the features read: what is open, what is set, what was found, and who runs models."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from handlens.diagnosis.thresholds import ChosenThresholds
from handlens.project import ProjectSettings
from handlens_server import settings
from handlens_server.capabilities import Capabilities
from handlens_server.events import Events
from handlens_server.results.store import Results
from handlens_server.settings import Settings
from handlens_server.text.documents import Document, Documents
from handlens_server.worker.pool import Pool


class State:
    """The state of one client's server."""

    def __init__(self) -> None:
        self.events = Events()
        self.documents = Documents(None)
        """The open documents and the workspace folders; replaced on ``initialize``."""
        self.capabilities = Capabilities()
        """What the client can do, from ``initialize`` on."""
        self.trusted = True
        """Whether code of the workspace may be run."""
        self.configured = asyncio.Event()
        """Set once the settings are known; runs wait for it."""
        self.selected: dict[str, str] = {}
        """By the uri of a document, the target that its user has selected."""
        self.results = Results()
        self.pool = Pool(self.events.worker_printed, self.events.worker_unusable)
        self.resources = contextlib.ExitStack()
        """What is to be cleaned up when the server ends."""
        self._settings = Settings()
        self._folder_settings: dict[str, Settings] = {}
        """By the path of a workspace folder, where the client has sent settings for it."""

    def settings(self, file: str | None) -> Settings:
        """The settings for a file: those of its workspace folder, else those for all."""
        folder = self.documents.root(file) if file is not None else ""
        return self._folder_settings.get(folder, self._settings)

    def thresholds(self, file: str, project: ProjectSettings) -> tuple[ChosenThresholds, ...]:
        """The thresholds that the project and the editor set for a file, each over those before it."""
        return project.thresholds, self.settings(file).thresholds

    def document(self, uri: str) -> Document | None:
        """The document of a uri: as it is in the editor, else on disk while its results are kept."""
        opened = self.documents.find(uri)
        if opened is not None or uri not in self.results.uris:
            return opened
        return self.documents.on_disk(uri)

    @property
    def known_documents(self) -> list[Document]:
        """The open documents, and the closed ones whose results are kept."""
        kept = (self.document(uri) for uri in self.results.uris if not self.documents.find(uri))
        return [*self.documents.open, *filter(None, kept)]

    def dependents(self, file: str) -> set[str]:
        """The uris of the documents that a file is, if it is open, or whose runs read it."""
        itself = self.documents.at(file)
        return self.results.readers(file) | ({itself.uri} if itself else set())

    def configure(self, data: object, folders: Mapping[str, object]) -> list[str]:
        """Replace the settings by what the client sent for all and for some folders.

        Returns a sentence about each value that is not accepted.
        """
        self._settings, problems = settings.parse(data)
        self._folder_settings = {}
        for folder, given in folders.items():
            self._folder_settings[folder], wrong = settings.parse(given)
            # Most clients repeat for a folder what they said for all.
            problems += [f"{each} In {folder}." for each in wrong if each not in problems]
        return problems

    async def close(self) -> None:
        """End all workers and clean up."""
        await self.pool.close()
        self.resources.close()
