"""How alike two frozen spaces are before anything is trained: CKA, mutual nearest neighbours, and the toy studies."""
