/** One question of a dataset. */
export interface Example {
  /** Unique in its dataset. */
  readonly id: string;
  readonly question: string;
  /** Empty for a question without one. */
  readonly context: string;
  /** Acceptable answers, at least one. */
  readonly golds: readonly string[];
  /** The group within which scores are averaged first: the task of bAbI. */
  readonly group?: string;
}

/** What UnifiedQA is trained to say when the context holds no answer. */
export const NO_ANSWER = '<No Answer>';
