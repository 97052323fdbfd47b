"""The suites that come with the package: how they lie on disk, and the toy suite that builds itself."""
