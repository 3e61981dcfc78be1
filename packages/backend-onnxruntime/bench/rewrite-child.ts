// Models in a process of their own: prints the time and the peak of each run. Called by `rewrite.ts` with a JSON argument.

import { numbers, peakBytes, restartPeak } from '../../../tooling/scripts/bench-helpers.mjs';

interface Run {
  readonly milliseconds: number;
  readonly cpu: number;
  readonly peak: number;
}

const task: {
  /** Several are run in turn. */
  readonly models: readonly string[];
  readonly engine: 'node' | 'wasm';
  readonly length: number;
  /** Queries, in a model of q, k and v. */
  readonly queries: number;
  readonly runs: number;
  readonly threads: number;
} = JSON.parse(process.argv[2] ?? '{}');
const { length, queries } = task;
const isWasm = task.engine === 'wasm';
const ort = await import(isWasm ? 'onnxruntime-web' : 'onnxruntime-node');
if (isWasm) ort.env.wasm.numThreads = task.threads;
const sessions = [];
for (const model of task.models) {
  const engine = isWasm ? { executionProviders: ['wasm'] } : { intraOpNumThreads: task.threads };
  sessions.push(await ort.InferenceSession.create(model, { logSeverityLevel: 3, ...engine }));
}
const tensorOf = (name: string) => {
  if (name === 'x') return new ort.Tensor('float32', numbers(length * 768, 1), [1, length, 768]);
  if (/^[qkv]$/.test(name)) {
    const rows = name === 'q' ? queries : length;
    return new ort.Tensor('float32', numbers(12 * rows * 64, name.charCodeAt(0)), [1, 12, rows, 64]);
  }
  const isMask = name.includes('mask');
  const ids = BigInt64Array.from({ length }, (_, at) => BigInt(isMask ? 1 : 1 + ((at * 7919) % 30_000)));
  return new ort.Tensor('int64', ids, [1, length]);
};
const feeds = Object.fromEntries(sessions[0].inputNames.map((name: string) => [name, tensorOf(name)]));
const loaded = restartPeak();
const outcomes = sessions.map((session) => ({ session, runs: [] as Run[], sample: [] as number[] }));
for (let run = 0; run < task.runs; run++) {
  for (const outcome of outcomes) {
    const start = performance.now();
    const before = process.cpuUsage();
    const output = (await outcome.session.run(feeds))[outcome.session.outputNames[0]];
    const milliseconds = performance.now() - start;
    const { user, system } = process.cpuUsage(before);
    outcome.runs.push({ milliseconds, cpu: (user + system) / 1000, peak: peakBytes() });
    const data = output.data as Float32Array;
    outcome.sample = Array.from(
      { length: 4096 },
      (_, at) => data[Math.floor((at * data.length) / 4096)] ?? 0,
    );
  }
}
const text = JSON.stringify(outcomes.map(({ runs, sample }) => ({ loaded, runs, sample })));
// Engines keep a process alive; a pipe takes more than one write to empty.
process.stdout.write(text, () => process.exit(0));
