// What runs in the page.
import { type AttentionBenchOptions, type BenchReport, runAttentionBench } from './attention-bench.js';

Object.assign(globalThis, {
  runBench: (options: AttentionBenchOptions): Promise<BenchReport> =>
    runAttentionBench(options, (text) => console.log(text)),
});
