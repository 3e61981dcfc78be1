// One method in a process of its own: prints its peak resident memory. Called by `memory.ts` with a JSON argument.
import { evaluate, exactAttention, topKAttention } from '@topk-attention/core';
import { createOnnxRuntimeBackend, fromOrt } from '@topk-attention/onnxruntime';
import * as ort from 'onnxruntime-node';
import { peakBytes } from '../../../tooling/scripts/bench-helpers.mjs';
import { methodNamed } from './methods.js';
import { dataOf, HEAD_DIM, HEADS, spread } from './setup.js';
const [task, argument = '{}'] = process.argv.slice(2);
const options = JSON.parse(argument);
const { method, length, k, chunk, threads, chunks } = options;
const data = dataOf(length);
const baseline = peakBytes();
const started = performance.now();
if (task === 'chunks') {
    const runner = await methodNamed(method).create({ length, k, chunk, threads }, data);
    await runner.run(spread(length, chunk, chunks));
}
else if (task === 'whole') {
    // All queries, keys, values and the whole output are resident.
    const backend = await createOnnxRuntimeBackend({ ort, threads });
    const shape = [1, HEADS, length, HEAD_DIM];
    const [q, keys, values] = [data.q, data.k, data.v].map((array) => fromOrt(backend, new ort.Tensor('float32', array, shape)));
    const plan = chunk > 0 ? { queryChunk: chunk } : {};
    const output = method === 'exact'
        ? exactAttention(q, keys, values, plan)
        : topKAttention(q, keys, values, { k, ...plan });
    await evaluate(output);
}
const milliseconds = performance.now() - started;
process.stdout.write(`${JSON.stringify({ baseline, peak: peakBytes(), milliseconds })}\n`);
process.exit(0);
//# sourceMappingURL=memory-child.js.map