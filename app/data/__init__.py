"""What pages read and keep: runs, the session, queues, live scores. No drawing."""
