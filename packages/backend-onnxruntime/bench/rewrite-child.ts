// One model in a process of its own: prints the time and the peak of each run. Called by `rewrite.ts` with a JSON argument.

import { numbers, peakBytes, restartPeak } from '../../../tooling/scripts/bench-helpers.mjs';

const task: {
  readonly model: string;
  readonly engine: 'node' | 'wasm';
  readonly length: number;
  /** Queries, in a model of q, k and v. */
  readonly queries: number;
  readonly runs: number;
  readonly threads: number;
} = JSON.parse(process.argv[2] ?? '{}');
const isWasm = task.engine === 'wasm';
const ort = await import(isWasm ? 'onnxruntime-web' : 'onnxruntime-node');
if (isWasm) ort.env.wasm.numThreads = task.threads;
const session = await ort.InferenceSession.create(task.model, {
  logSeverityLevel: 3,
  ...(isWasm ? { executionProviders: ['wasm'] } : { intraOpNumThreads: task.threads }),
});
const feeds = Object.fromEntries(
  session.inputNames.map((name: string) => {
    const { length, queries } = task;
    if (/^[qkv]$/.test(name)) {
      const rows = name === 'q' ? queries : length;
      const values = numbers(12 * rows * 64, name.charCodeAt(0));
      return [name, new ort.Tensor('float32', values, [1, 12, rows, 64])];
    }
    if (name === 'x') return [name, new ort.Tensor('float32', numbers(length * 768, 1), [1, length, 768])];
    const isMask = name.includes('mask');
    const ids = BigInt64Array.from({ length }, (_, at) => BigInt(isMask ? 1 : 1 + ((at * 7919) % 30_000)));
    return [name, new ort.Tensor('int64', ids, [1, length])];
  }),
);
const loaded = restartPeak();
const runs: { milliseconds: number; cpu: number; peak: number }[] = [];
let sample: number[] = [];
for (let run = 0; run < task.runs; run++) {
  const start = performance.now();
  const before = process.cpuUsage();
  const output = (await session.run(feeds))[session.outputNames[0]];
  const milliseconds = performance.now() - start;
  const { user, system } = process.cpuUsage(before);
  runs.push({ milliseconds, cpu: (user + system) / 1000, peak: peakBytes() });
  const data = output.data as Float32Array;
  sample = Array.from({ length: 4096 }, (_, at) => data[Math.floor((at * data.length) / 4096)] as number);
}
process.stdout.write(`${JSON.stringify({ loaded, runs, sample })}\n`);
process.exit(0);
