/** Steps that may be enqueued before the first one's loss is checked, so a loop never waits for the current step. */
export const LAG = 2;
