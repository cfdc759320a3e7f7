"""Ids and paths: which are safe to send, and the run id of an intent."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from urllib.parse import unquote

from astronomer_remote.api.protocol.errors import InvalidSettings

LONGEST_ID = 250
"""Characters of a DAG or run id: the width of Airflow's database columns."""

LONGEST_POOL_NAME = 256
"""Characters of a pool's name; 1.10 has room for fewer."""

LONGEST_NOTE = 1000
"""Characters of a DAG run's note that Airflow stores."""

MARK = "[astronomer_remote "
"""How the last line of a note begins that says which intent its run was made or taken over for."""

INTENT_KEY = "astronomer_remote_intent"
"""Key in an asset event's extra whose value is the id of the intent that the event was registered for."""

UNSAFE_IN_RUN_ID = re.compile(r"[^A-Za-z0-9_.~:+-]")
"""What Airflow 2.6.3 and later refuse in a run id by default (``[scheduler] allowed_run_id_pattern``)."""


def checked(value: object, name: str, *, slash: bool = False, longest: int = LONGEST_ID) -> str:
    """
    An id that is safe in a path: it names one thing and cannot reach another endpoint.

    :param value: the id, after templates are rendered.
    :param name: what to call it in an error.
    :param slash: whether this kind of id may hold a slash, which only Airflow 3's pools can.
    :param longest: the width of its database column.
    :raises InvalidSettings: for what no generation can address.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidSettings(f"{name} must be a non-empty text, not {value!r}.")
    # Some servers drop what follows a semicolon.
    if value == "~" or any(part.partition(";")[0] in (".", "..") for part in value.split("/")):
        raise InvalidSettings(f"{name}={value!r} has a meaning of its own in a path and cannot be an id.")
    if ("/" in value and not slash) or re.search(r"[\x00-\x1f\x7f]", value):
        raise InvalidSettings(f"{name}={value!r} holds a character that no Airflow API can address.")
    if len(value) > longest:
        raise InvalidSettings(f"{name} is {len(value)} characters long; Airflow stores {longest}.")
    return value


def is_addressable(run_id: str) -> bool:
    """Whether a run id that a remote lists can be put into a path: Airflow 2 before 2.6.3 takes nearly any."""
    try:
        checked(run_id, "run_id")
    except InvalidSettings:
        return False
    return True


def digest_of_intent(*, dag_id: str, task_id: str, map_index: int, identity: tuple[str, ...]) -> str:
    """
    The digest of one intent of one local task to run a remote DAG: 16 hexadecimal digits.

    It is a pure function of what identifies the intent: a retry of the task, after any kind of crash,
    gets the same digest.

    :param dag_id: the local DAG.
    :param task_id: the local task.
    :param map_index: the local task's map index, -1 if it is not mapped.
    :param identity: the rest of what identifies the intent, in a fixed order.
    """
    seed = json.dumps([dag_id, task_id, map_index, *identity])
    return hashlib.sha256(seed.encode()).hexdigest()[:16]


def run_id_of_intent(digest: str, *, dag_id: str, task_id: str, map_index: int) -> str:
    """
    The run id of an intent: readable, and as unique as its digest.

    :param digest: of :func:`digest_of_intent`.
    :param dag_id: the local DAG.
    :param task_id: the local task.
    :param map_index: the local task's map index, -1 if it is not mapped.
    """
    index = f".{map_index}" if map_index >= 0 else ""
    readable = UNSAFE_IN_RUN_ID.sub("_", f"{dag_id}.{task_id}{index}")
    return f"remote__{readable[: LONGEST_ID - 40]}__{digest}"


def run_id_of_key(key: str, *, dag_id: str) -> str:
    """
    The run id for a key that the user chose. The same key and DAG always give the same id.

    :param key: any text that is not empty.
    :param dag_id: the remote DAG.
    :raises InvalidSettings: for an empty key.
    """
    if not isinstance(key, str) or not key.strip():
        raise InvalidSettings(f"key must be a non-empty text, not {key!r}.")
    digest = digest_of_intent(dag_id=dag_id, task_id=key, map_index=-1, identity=("key",))
    return run_id_of_intent(digest, dag_id=dag_id, task_id=key, map_index=-1)


def run_id_of_repetition(run_id: str, number: int) -> str:
    """The run id of the ``number``-th run of the same intent, after those before it failed; the first is 1."""
    return run_id if number == 1 else f"{run_id}.{number}"


def marked_note(note: str | None, digest: str) -> str | None:
    """
    A note with a last line that says which intent its run belongs to, instead of such a line of an earlier intent.

    :return: the note as it is if the line does not fit; nothing of it is cut off.
    """
    lines = [line for line in (note or "").splitlines() if not line.startswith(MARK)]
    marked = "\n".join([*lines, f"{MARK}{digest}]"])
    return marked if len(marked) <= LONGEST_NOTE else note


def is_marked(note: str | None, digest: str) -> bool:
    """Whether a note says that its run belongs to an intent."""
    return f"{MARK}{digest}]" in (note or "").splitlines()


def microsecond_of(digest: str) -> int:
    """
    The microsecond of every logical date that is chosen for an intent, from 1 to 999,999.

    A run of another intent has it once in a million times; a scheduled one, whose dates are whole, never.
    """
    return int(digest, 16) % 999_999 + 1


# Paths

MOST_UNQUOTED = 5
"""How often a path is unquoted before it counts as made to mislead: a proxy and a server unquote once each."""

FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]|%u", re.IGNORECASE)
"""What some servers drop or take for a slash, and how some write any character."""


def is_within(url: str | None, base_url: str) -> bool:
    """
    Whether a URL lies below another one.

    :param url: the URL, with or without a query.
    :param base_url: the URL of the deployment, without a trailing slash.
    """
    path = (url or "").partition("?")[0].partition("#")[0]
    return path == base_url or (path.startswith(f"{base_url}/") and stays_below(path[len(base_url) :]))


def stays_below(path: str) -> bool:
    """
    Whether a path leads to something below, however a server reads it.

    Servers differ in whether they unquote a path before they resolve its dots, drop the parameters of a segment
    (``..;x``), merge slashes, take a backslash for one, or replace characters of Unicode by similar ones. A path that
    any of these could lead elsewhere does not stay below. A quoted slash between two names does no harm.

    :param path: the path with its first slash, without a query.
    """
    plain = _unquoted(path)
    if plain is None or FORBIDDEN.search(plain):
        return False
    # Where a path ends with a slash, nothing follows.
    segments = plain.removesuffix("/").split("/")[1:]
    return all(is_name(segment) for segment in segments)


def is_name(segment: str) -> bool:
    """Whether a segment is more than dots and spaces, also without its parameters."""
    return bool(segment.partition(";")[0].strip(" ."))


def _unquoted(path: str) -> str | None:
    """A path without any quoting and with usual characters for similar ones; ``None`` if it cannot be read."""
    for _ in range(MOST_UNQUOTED):
        try:
            plain = unicodedata.normalize("NFKC", unquote(path, errors="strict"))
        except UnicodeDecodeError:
            return None
        if plain == path:
            return plain
        path = plain
    return None
