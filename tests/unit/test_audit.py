"""The audit log: gapless under concurrent writers, and every kind of tampering shows."""

import hashlib
import io
import json
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from core import audit, database
from core.audit import Change, LogFilter
from core.errors import UserError
from core.store import Store
from tests.unit.workspaces import postgres, workspace


@pytest.fixture
def url(tmp_path):
    return Store(workspace(tmp_path)).url


def write(url, *subjects, actor="local", action=audit.DECISION, **more):
    with database.writing(url) as session:
        return audit.append_many(
            session, actor=actor, action=action, changes=[Change(subject, **more) for subject in subjects]
        )


def tamper(url, *statements):
    """Change the log as its database's owner could."""
    with database.writing(url) as session:
        for trigger in ("update", "delete"):
            session.execute(text(f"DROP TRIGGER IF EXISTS audit_log_no_{trigger}"))
        for statement in statements:
            session.execute(text(statement))


def rewrite(url, upto):
    """Write the first entries anew, chained correctly, with other content: a forger who knows the format."""
    entries = list(reversed(audit.read_log(url)))[:upto]
    tamper(url, "DELETE FROM audit_log", f"UPDATE audit_head SET seq = 0, hash = '{audit.GENESIS}'")
    write(url, *(f"{entry.subject}-forged" for entry in entries))


def test_an_empty_log_is_valid(url):
    assert audit.verify(url) == audit.Verification(True, 0, audit.GENESIS)
    assert audit.head(url) == audit.GENESIS
    assert audit.read_log(url) == []


def test_an_entry_says_who_what_when_before_and_after(url):
    start = datetime.now(UTC)
    with database.writing(url) as session:
        given = audit.append(
            session,
            actor="rita",
            action=audit.DECISION,
            subject="ab/row:3",
            before={"decision": None},
            after={"decision": "exclude", "reasons": ["junk"], 7: 1.5},
            note="日本語 \x00 \ud83d",
        )
    (entry,) = audit.read_log(url)
    assert (entry.seq, entry.actor, entry.action, entry.subject) == (1, "rita", "decision", "ab/row:3")
    assert entry.before == {"decision": None}
    assert entry.after == {"decision": "exclude", "reasons": ["junk"], "7": 1.5}
    assert entry.note == "日本語 \\x00 \\ud83d"
    assert start <= entry.moment <= datetime.now(UTC)
    assert entry.hash == given == audit.head(url)
    assert audit.verify(url).ok


def test_the_hash_is_what_the_documentation_says(url):
    write(url, "a", "b", after={"x": [1, "é"]})
    file = io.StringIO()
    assert audit.export_jsonl(url, file) == 2
    previous = "0" * 64
    for line in file.getvalue().splitlines():
        entry = json.loads(line)
        given, before = entry.pop("hash"), entry.pop("previous")
        body = json.dumps(entry, sort_keys=True, separators=(",", ":"))
        assert before == previous
        assert given == hashlib.sha256(f"{previous}\n{body}".encode()).hexdigest()
        previous = given
    assert previous == audit.head(url)


def test_an_entry_dies_with_its_transaction(url):
    write(url, "a")
    with pytest.raises(RuntimeError), database.writing(url) as session:
        audit.append(session, actor="local", action=audit.DECISION, subject="b")
        raise RuntimeError
    write(url, "c")
    assert [(entry.seq, entry.subject) for entry in audit.read_log(url)] == [(2, "c"), (1, "a")]
    assert audit.verify(url).ok


def test_unknown_actions_and_values_that_are_not_json_are_refused(url):
    with pytest.raises(ValueError, match="decide"):
        write(url, "a", action="decide")
    with pytest.raises(ValueError):
        write(url, "a", after=float("nan"))
    with pytest.raises(TypeError):
        write(url, "a", after=object())
    assert audit.read_log(url) == []


def test_the_database_refuses_changes(url):
    write(url, "a")
    for statement in ("UPDATE audit_log SET actor = 'eve'", "DELETE FROM audit_log"):
        with pytest.raises(DatabaseError, match="append-only"), database.writing(url) as session:
            session.execute(text(statement))
    assert audit.read_log(url)[0].actor == "local"


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'eve'",
        "action = 'undo'",
        "subject = 'z'",
        "time = '2020-01-01T00:00:00.000000+00:00'",
        "\"before\" = '1'",
        "\"after\" = '[2]'",
        "\"after\" = 'no json'",
        "note = 'x'",
        "hash = replace(hash, substr(hash, 1, 4), 'ffff')",
    ],
)
def test_an_edited_entry_is_found(url, change):
    write(url, "a", "b", "c", "d", after={"x": 1})
    tamper(url, f"UPDATE audit_log SET {change} WHERE seq = 2")
    found = audit.verify(url)
    assert (found.ok, found.bad_seq, found.problem, found.checked) == (False, 2, audit.EDITED, 1)


def test_an_entry_replaced_with_its_hash_shows_at_the_next(url):
    write(url, "a", "b", "c")
    forged = {"seq": 2, "actor": "eve", "action": "decision", "subject": "b", "note": ""}
    victim = audit.read_log(url)[1]
    body = json.dumps(
        {**forged, "time": victim.time, "before": None, "after": None}, sort_keys=True, separators=(",", ":")
    )
    digest = hashlib.sha256(f"{victim.previous}\n{body}".encode()).hexdigest()
    tamper(url, f"UPDATE audit_log SET actor = 'eve', hash = '{digest}' WHERE seq = 2")
    found = audit.verify(url)
    assert (found.bad_seq, found.problem) == (3, audit.UNCHAINED)


def test_a_removed_entry_is_found(url):
    write(url, "a", "b", "c", "d")
    tamper(url, "DELETE FROM audit_log WHERE seq = 2")
    found = audit.verify(url)
    assert (found.ok, found.bad_seq, found.problem) == (False, 2, audit.MISSING)


def test_renumbering_after_a_removal_does_not_hide_it(url):
    write(url, "a", "b", "c")
    tamper(url, "DELETE FROM audit_log WHERE seq = 1", "UPDATE audit_log SET seq = seq - 1")
    assert audit.verify(url).bad_seq == 1


def test_reordered_entries_are_found(url):
    write(url, "a", "b", "c", "d")
    tamper(
        url,
        "UPDATE audit_log SET seq = 99 WHERE seq = 2",
        "UPDATE audit_log SET seq = 2 WHERE seq = 3",
        "UPDATE audit_log SET seq = 3 WHERE seq = 99",
    )
    found = audit.verify(url)
    assert (found.ok, found.bad_seq, found.problem) == (False, 2, audit.EDITED)


def test_a_cut_tail_shows_against_the_head(url):
    write(url, "a", "b", "c")
    tamper(url, "DELETE FROM audit_log WHERE seq > 1")
    found = audit.verify(url)
    assert (found.ok, found.bad_seq, found.problem) == (False, 2, audit.TAIL_CUT)


def test_a_replaced_last_entry_shows_against_the_head(url):
    write(url, "a", "b")
    kept = audit.head(url)
    rewrite(url, 2)
    tamper(url, f"UPDATE audit_head SET hash = '{kept}'")
    assert audit.verify(url).problem == audit.TAIL_CUT


def test_a_tail_cut_with_the_head_shows_only_against_an_anchor(url):
    first = write(url, "a")
    anchor = write(url, "b", "c")
    tamper(url, "DELETE FROM audit_log WHERE seq > 1", f"UPDATE audit_head SET seq = 1, hash = '{first}'")
    assert audit.verify(url).ok
    found = audit.verify(url, anchor)
    assert (found.ok, found.bad_seq, found.problem) == (False, None, audit.NO_ANCHOR)
    assert audit.verify(url, first).ok


def test_a_full_rewrite_shows_only_against_an_anchor(url):
    write(url, "a", "b")
    anchor = audit.head(url)
    rewrite(url, 2)
    assert audit.verify(url).ok
    assert audit.verify(url, anchor).problem == audit.NO_ANCHOR


def test_an_old_head_stays_an_anchor_as_the_log_grows(url):
    anchor = write(url, "a", "b")
    write(url, "c")
    assert audit.verify(url, f" {anchor.upper()} ").ok
    assert audit.verify(url, audit.GENESIS).ok
    with pytest.raises(UserError, match="64 hexadecimal digits"):
        audit.verify(url, "abc")


def test_filters(url):
    write(url, "ab", actor="ann", action=audit.IMPORT)
    write(url, "ab/row:1", "ab/row:2", "abc/row:1", "a_b/row:1", "axb/row:1", actor="bob")
    middle = datetime.now(UTC)
    write(url, "ab", actor="ann", action=audit.EXPORT)

    def found(**chosen):
        entries = audit.read_log(url, LogFilter(**chosen))
        assert audit.count_log(url, LogFilter(**chosen)) == len(entries)
        return [entry.seq for entry in entries]

    assert found() == [7, 6, 5, 4, 3, 2, 1]
    assert found(actors=("ann",)) == [7, 1]
    assert found(actions=("import", "export")) == [7, 1]
    assert found(subject="ab") == [7, 3, 2, 1]
    assert found(subject="a_b") == [5]
    assert found(subject="ab/row:1") == [2]
    assert found(since=middle) == [7]
    assert found(until=middle) == [6, 5, 4, 3, 2, 1]
    assert found(until=middle - timedelta(days=1)) == []
    assert found(actors=("bob",), subject="ab") == [3, 2]
    assert [entry.seq for entry in audit.read_log(url, limit=2, offset=3)] == [4, 3]
    assert audit.actors(url) == ["ann", "bob"]


WRITER = """
import sys
from core import audit, database
url, name = sys.argv[1:]
for i in range(40):
    with database.writing(url) as session:
        audit.append(session, actor=name, action=audit.DECISION, subject=str(i))
        audit.append(session, actor=name, action=audit.DECISION, subject=f"{i}+")
"""


def crowd(url):
    """Several processes and threads write at once."""
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, url, f"process {i}"]) for i in range(3)]
    threads = [
        threading.Thread(target=lambda n=n: [write(url, str(i), f"{i}+", actor=f"thread {n}") for i in range(40)])
        for n in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    assert audit.verify(url) == audit.Verification(True, 400, audit.head(url))
    for who in audit.actors(url):
        mine = audit.read_log(url, LogFilter(actors=(who,)), limit=200)[::-1]
        assert [entry.subject for entry in mine] == [f"{i}{sign}" for i in range(40) for sign in ("", "+")]
        # Both entries of a transaction stand side by side.
        assert all(b.seq == a.seq + 1 for a, b in zip(mine[::2], mine[1::2], strict=True))


def test_concurrent_writers_leave_no_gap_and_no_fork(url):
    crowd(url)


def test_concurrent_writers_on_postgresql(tmp_path):
    with postgres() as template:
        url = template.format("assay")
        store = Store(workspace(tmp_path).model_copy(update={"database_url": url}))
        crowd(store.url)
        for statement in ("UPDATE audit_log SET actor = 'eve'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
            with pytest.raises(DatabaseError, match="append-only"), database.writing(store.url) as session:
                session.execute(text(statement))


def test_many_entries_in_one_transaction(url):
    with database.writing(url) as session:
        changes = (Change(audit.row_subject("ab", i), {"d": "keep"}, {"d": "exclude"}) for i in range(5000))
        audit.append_many(session, actor="local", action=audit.DECISION, changes=changes)
    assert audit.verify(url).checked == 5000
