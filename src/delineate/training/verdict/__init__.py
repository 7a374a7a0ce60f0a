"""Why a training came out as it did: symptoms in its records, and what to do about each."""
