"""Operations on task vectors: decompositions and their store, the papers' verbs, and how shares are kept."""
