"""Where MLflow keeps its runs: a server, a database, or a file of the workspace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_SQLITE = "sqlite:///"
_SERVERS = frozenset({"http", "https"})
_DATABASES = frozenset({"postgresql", "mysql", "mssql"})


@dataclass(frozen=True)
class Place:
    """A tracking URI that means the same from every folder, and where its artifacts go."""

    uri: str
    artifacts: Path | None  # None: the server decides

    @property
    def database(self) -> Path | None:
        """The SQLite file, if it is one; ours to create."""
        if not self.uri.startswith(_SQLITE):
            return None
        return Path(self.uri.removeprefix(_SQLITE))

    @property
    def is_server(self) -> bool:
        return urlsplit(self.uri).scheme in _SERVERS

    def __str__(self) -> str:
        return self.without_password(self.uri)

    def without_password(self, text: str) -> str:
        """`text` as it may be shown."""
        password = urlsplit(self.uri).password
        return text.replace(f":{password}@", ":…@") if password else text


def place_of(uri: str | None, workspace: Path) -> Place:
    """The place `uri` names; None names the workspace's own file."""
    folder = workspace.absolute()
    if uri is None:
        return Place(f"{_SQLITE}{folder / 'mlflow.db'}", folder / "mlartifacts")
    named = Place(uri.rstrip("/"), None)
    if named.is_server:
        return named
    beside = folder if named.database is None else named.database.parent
    return Place(uri, beside / "mlartifacts")


def checked_uri(uri: str) -> str:
    """Returns `uri` if MLflow can keep runs there from whatever folder it is asked.

    Raises:
        ValueError: It is a retired file store, a relative path, or nothing known.
    """
    if uri.startswith(_SQLITE):
        is_known = Path(uri.removeprefix(_SQLITE)).is_absolute()
    else:
        is_known = urlsplit(uri).scheme.split("+")[0] in _SERVERS | _DATABASES
    if is_known:
        return uri
    raise ValueError(
        f"{uri!r} is not a place where MLflow can keep runs; write http(s)://host:port, "
        "sqlite:////absolute/path/mlflow.db (four slashes: a relative path would depend on the "
        "folder you stand in) or postgresql://…, or leave it out"
    )
