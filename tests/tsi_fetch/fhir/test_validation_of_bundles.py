"""What a Bundle holds and was found sound on its own is not looked at again; everything else of it is."""

from __future__ import annotations

import pytest

from tsi_fetch.fhir.validation import validate
from tsi_fetch.words import Ref

REF = Ref("Bundle", "b")
SOUND = b'{"resourceType":"Organization","id":"a","name":"x"}'
WRONG = b'{"resourceType":"Organization","id":"c","nombre":"x"}'


def bundle(*resources: bytes, more: bytes = b"") -> bytes:
    entries = b",".join(b'{"fullUrl":"urn:x","resource":%s}' % resource for resource in resources)
    return b'{"resourceType":"Bundle","id":"b","type":"collection"%s,"entry":[%s]}' % (more, entries)


@pytest.mark.parametrize(
    "body",
    [
        bundle(SOUND),
        bundle(SOUND, WRONG),
        bundle(WRONG, SOUND, WRONG),
        bundle(SOUND, more=b',"unknown":1'),
        bundle(SOUND.replace(b'"x"', b"1")),
        bundle(b'{"resourceType":"Nothing"}', SOUND),
        bundle(b"null", b"[]", SOUND),
        b'{"resourceType":"Bundle","id":"other","type":"collection","entry":[{"resource":%s}]}' % SOUND,
        b'{"resourceType":"Bundle","id":"b","type":"collection","entry":{}}',
        b'{"resourceType":"Bundle","id":"b","type":"collection","entry":[7]}',
        b'{"resourceType":"Bundle","id":"b","type":"collection"}',
        b'{"resourceType":"Bundle","id":"b","type":"collection","entry":[{"resource":%s}' % SOUND,
    ],
)
def test_a_bundle_has_the_same_faults_whatever_is_known_of_its_entries(body: bytes) -> None:
    assert validate(body, REF, "R5", {SOUND}) == validate(body, REF, "R5")


def test_an_entry_that_differs_by_a_byte_is_looked_at() -> None:
    (fault,) = validate(bundle(SOUND, WRONG), REF, "R5", {SOUND})
    assert fault.path.startswith("entry.1.")


def test_what_is_known_as_sound_is_not_looked_at_again() -> None:
    assert validate(bundle(WRONG), REF, "R5", {WRONG}) == ()
