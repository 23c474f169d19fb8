"""The runner: makes the pictures of the hub's jobs in this WebUI, with the files that were confirmed before.

One thread (``runner``) asks the hub for a job while nobody generates, looks at every file just before the run
(``file_check``), has the host make the pictures (``host.generation``), says what the host really
loaded (``evidence``), and keeps the result on the disk until the hub has it (``result_outbox``).
"""
