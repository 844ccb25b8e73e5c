"""The demo's own jobs: ordinary programs, as a user of etlmon would write them."""
