import type { Answer, EngineInfo } from '../engine/protocol.js';

/** How attention runs, in the order of the tables. */
export const ways = ['plain', 'exact', 'top-k'] as const;
export type Way = (typeof ways)[number];

/** Each way, in words for people. */
export const wayNames: { readonly [W in Way]: string } = {
  plain: 'plain, all scores at once',
  exact: 'exact, in chunks',
  'top-k': 'top-k, in chunks',
};

/** What plain attention is here, in one sentence. */
export const PLAIN_IS =
  'Plain is attention as other libraries run it, on the same engine and model: the scores of all pairs of tokens in one tensor, and their biases in another.';

/** One way over one length of the text, in its own process. */
export interface Run {
  readonly way: Way;
  /** Tokens of the longest prompt. */
  readonly tokens: number;
  /** In the order of the questions; empty after a failure. */
  readonly answers: readonly Answer[];
  /** How many of them are right. */
  readonly right: number;
  /** Time of the median answer. */
  readonly milliseconds: number;
  /** Peak memory, engine and model included. */
  readonly peakBytes: number;
  /** The part of the peak that was there before the first question. */
  readonly loadedBytes: number;
  /** Why there are no answers: in a word or two, and with the numbers. */
  readonly failure?: { readonly summary: string; readonly message: string };
}

/** Everything that `start` found out: `--json` prints it, and the table, sentences and page are made from it. */
export interface StartReport {
  readonly engine: EngineInfo;
  readonly document: string;
  /** The questions with the right answers. */
  readonly questions: readonly { readonly question: string; readonly answer: string }[];
  /** What top-k keeps: keys per query, hidden units per token. */
  readonly kept: { readonly attention: number | 'exact'; readonly feedForward: number | 'exact' };
  /** Shortest text first; at each length in the order of `ways`. */
  readonly runs: readonly Run[];
  /** Day of the run, such as 2026-11-22. */
  readonly date: string;
  /** The command line as typed. */
  readonly command: string;
}

/** Memory of a run beyond engine and model. */
export function ownBytes({ peakBytes, loadedBytes }: Run): number {
  return Math.max(0, peakBytes - loadedBytes);
}

/** The runs of each length, shortest first. */
export function byLength(runs: readonly Run[]): (readonly Run[])[] {
  const groups: Run[][] = [];
  for (const run of runs) {
    const group = groups.at(-1);
    if (group === undefined || group.some(({ way }) => way === run.way)) groups.push([run]);
    else group.push(run);
  }
  return groups;
}

/** What the memory columns count, in one sentence. */
export function memoryIs({ engine }: StartReport): string {
  return engine.memory === 'gpu'
    ? 'Memory is that of tensors and scratch on the GPU.'
    : 'Memory is the peak of a process of its own for every row.';
}
