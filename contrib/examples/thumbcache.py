#!/usr/bin/env python3
"""A client of 'thumbcache serve --no-page' that needs only the standard library.

As a program, it makes the thumbnail of one file in advance, saves it, and makes the server forget it:

    THUMBCACHE_TOKEN=... python3 thumbcache.py http://localhost:8420 music Artist/Album/01.flac cover.jpg
"""

import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request


class Thumbcache:
    """A server. All methods raise urllib.error.URLError if a request fails, or HTTPError with the status."""

    def __init__(self, url, token="", timeout=60):
        self.url, self.timeout = url.rstrip("/"), timeout
        self.headers = {"Accept": "application/json, image/*;q=0.9"}
        if token:
            self.headers["Authorization"] = "Bearer " + token

    def _request(self, path, body=None):
        headers, data = dict(self.headers), None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=self.timeout) as answer:
            return answer.read()

    def thumbnail(self, provider, path, size=320, **options):
        """Returns a thumbnail, or None if there is none: no such file, no picture in it, or an unsupported or broken file."""
        query = urllib.parse.urlencode({"provider": provider, "path": path, "size": size, **options})
        try:
            return self._request("/thumb/?" + query)
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (404, 415):
                    return None
            raise

    def warm(self, provider, paths, sizes=()):
        """Starts to make thumbnails in advance. If too many batches wait already, it waits for them."""
        paths = list(paths)
        for start in range(0, len(paths), 1000):
            batch = {"provider": provider, "paths": paths[start : start + 1000], "sizes": list(sizes)}
            while True:
                try:
                    self._request("/warm", batch)
                    break
                except urllib.error.HTTPError as error:
                    with error:
                        if error.code != 503:
                            raise
                    time.sleep(5)

    def wait(self, interval=1.0):
        """Waits until everything is warm. Returns the numbers of paths that were extracted, reused, without a picture, failed."""
        while True:
            warm = json.loads(self._request("/stats"))["warm"]
            if warm["waiting"] == 0:
                return warm
            time.sleep(interval)

    def invalidate(self, provider, paths):
        """Forgets sources. This is needed only if a change must show at once: within a minute the server notices it."""
        paths = list(paths)
        for start in range(0, len(paths), 1000):
            self._request("/invalidate", {"provider": provider, "paths": paths[start : start + 1000]})


def main():
    if len(sys.argv) != 5:
        sys.exit("usage: thumbcache.py URL PROVIDER PATH OUTPUT")
    url, provider, path, output = sys.argv[1:]
    server = Thumbcache(url, os.environ.get("THUMBCACHE_TOKEN", ""))
    server.warm(provider, [path], [320])
    print("warm:", json.dumps(server.wait(interval=0.1)))
    picture = server.thumbnail(provider, path, 320)
    if picture is None:
        sys.exit("there is no thumbnail of this file")
    with open(output, "wb") as file:
        file.write(picture)
    server.invalidate(provider, [path])
    print("saved:", len(picture), "bytes")


if __name__ == "__main__":
    main()
