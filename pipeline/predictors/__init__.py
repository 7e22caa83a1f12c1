"""What tells, before two encoders are aligned, how well they will align: the poster's "Why CKA?" as a study."""
