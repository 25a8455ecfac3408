"""What every part rests on: settings, messages, the workspace on disk, archives. Nothing here knows speech."""
