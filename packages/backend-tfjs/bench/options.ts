import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { type EngineName, engineNames } from './engines.js';

export type Pass = 'forward' | 'backward';

export interface BenchOptions {
  readonly engine: EngineName;
  readonly passes: readonly Pass[];
  readonly lengths: readonly number[];
  readonly ks: readonly number[];
  readonly heads: number;
  readonly dim: number;
  /** Queries that are timed, at most. */
  readonly queries: number;
  /** Queries of all heads that a tile may have: each method's best is looked for among these. */
  readonly chunks: readonly number[];
  readonly methods: readonly string[] | undefined;
  readonly threads: number;
  readonly rounds: number;
  readonly times: boolean;
  readonly memory: boolean;
  /** Children above these resident bytes are stopped. */
  readonly boundBytes: number;
  readonly json: boolean;
}

const usage = `pnpm bench attention --backend tfjs [options]

Self-attention on one engine of TensorFlow.js: time per query and peak memory, forward and backward, of top-k attention
beside dense attention composed of tf ops and beside matMul, topk, softmax, gather.

  --engine name     ${engineNames.join(', ')}                 (default node: tfjs-node)
  --pass name       forward, backward or both               (default both)
  --lengths a,b     sequence lengths                        (default 2048,8192)
  --k a,b           kept keys                               (default 64)
  --heads n         heads                                   (default 12)
  --dim n           elements of a head                      (default 64)
  --queries n       time this many queries at most          (default 8192)
  --chunks a,b      queries of all heads at once, to find each method's best of; dense attention is also tried with as
                    many queries of one head after the other (default 16 to 256, every power of two)
  --methods a,b     only these                              (default all; see the table for their names)
  --threads n       threads of tfjs-node                    (default 2, or the cores there are)
  --rounds n        whole passes of each method, in turns   (default 3)
  --no-time         memory alone
  --no-memory       leave out the child processes that measure memory
  --memory-bound n  GiB at which such a process is stopped  (default 8)
  --json            print JSON alone`;

/** Undefined when only help was asked for. */
export function parseOptions(argv: readonly string[]): BenchOptions | undefined {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const { values } = parseArgs({
    args: [...argv],
    options: {
      backend: text,
      engine: text,
      pass: text,
      lengths: text,
      k: text,
      heads: text,
      dim: text,
      queries: text,
      chunks: text,
      methods: text,
      threads: text,
      rounds: text,
      'no-time': flag,
      'no-memory': flag,
      'memory-bound': text,
      json: flag,
      help: flag,
    },
  });
  if (values.help) {
    console.log(usage);
    return undefined;
  }
  const list = (given: string | undefined, otherwise: readonly number[]): readonly number[] =>
    given === undefined ? otherwise : given.split(',').map(positive);
  const one = (given: string | undefined, otherwise: number): number =>
    given === undefined ? otherwise : positive(given);
  const engine = engineNames.find((name) => name === (values.engine ?? 'node'));
  if (engine === undefined) throw new Error(`"${values.engine}" is not an engine\n\n${usage}`);
  const pass = values.pass ?? 'both';
  if (pass !== 'forward' && pass !== 'backward' && pass !== 'both') {
    throw new Error(`"${pass}" is not a pass\n\n${usage}`);
  }
  return {
    engine,
    passes: pass === 'both' ? ['forward', 'backward'] : [pass],
    lengths: list(values.lengths, [2048, 8192]),
    ks: list(values.k, [64]),
    heads: one(values.heads, 12),
    dim: one(values.dim, 64),
    queries: one(values.queries, 8192),
    chunks: list(values.chunks, [16, 32, 64, 128, 256]),
    methods: values.methods?.split(','),
    threads: one(values.threads, Math.min(2, availableParallelism())),
    rounds: one(values.rounds, 3),
    times: !values['no-time'],
    memory: !values['no-memory'],
    boundBytes: one(values['memory-bound'], 8) * 2 ** 30,
    json: values.json,
  };
}

function positive(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new Error(`"${text}" is not a positive whole number\n\n${usage}`);
}
