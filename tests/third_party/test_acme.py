"""The suite that every provider inherits, for Acme."""

from darkroom_acme import Acme

from plugins.image_edit import Reply
from plugins.image_edit.testing import ProviderConformance


class TestAcme(ProviderConformance):
    plugin = Acme
    config = {"api_key": "not-a-real-one"}
    replies = [
        Reply(status=200, body=b'{"id": "t1"}'),
        Reply(status=200, body=b'{"state": "done", "links": ["https://storage.example/a"]}'),
    ]
