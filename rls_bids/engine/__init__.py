"""Running graphs: nipype configuration, process pool, resources, crash records."""
