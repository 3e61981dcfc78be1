// One attention call in a process of its own: prints the planned bytes and what the process really grew by, as JSON.
// Linux only. Started by planned-bytes.test.ts with `--expose-gc`, as what is garbage must not count as held.
import { readFileSync, writeFileSync } from 'node:fs';
import { evaluate, exactAttention, explain, topKAttention } from '@topk-attention/core';
import { createOnnxRuntimeBackend, fromOrt } from '@topk-attention/onnxruntime';
import * as ort from 'onnxruntime-node';

const { heads, headDim, queries, keys, k, queryChunk, causal } = JSON.parse(process.argv[2]);

/** A line of this process's memory map in bytes: VmRSS is resident now, VmHWM at the most. */
function resident(line) {
  const found = new RegExp(`^${line}:\\s*(\\d+) kB$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(found[1]) * 1024;
}

function randomTensor(backend, length) {
  const data = Float32Array.from({ length: heads * length * headDim }, () => Math.random() - 0.5);
  return fromOrt(backend, new ort.Tensor('float32', data, [1, heads, length, headDim]));
}

const attend = (q, keyRows, values, options) =>
  k === undefined
    ? exactAttention(q, keyRows, values, options)
    : topKAttention(q, keyRows, values, { k, ...options });

const backend = await createOnnxRuntimeBackend({ ort, threads: 1 });
// The engine's own start, its libraries and code that is compiled on first use are no part of a call.
const small = randomTensor(backend, 64);
const warmUp = exactAttention(small, small, small, { queryChunk: 16 });
await evaluate(warmUp);

const [q, keyRows, values] = [queries, keys, keys].map((length) => randomTensor(backend, length));
const shapes = { q: q.shape, k: keyRows.shape, v: values.shape };
const { plan } = explain(backend, shapes, { queryChunk, causal, ...(k !== undefined && { k }) });
globalThis.gc();
// Forgets the peak that making the inputs reached.
writeFileSync('/proc/self/clear_refs', '5');
const before = resident('VmRSS');
// Twice: from its second run on a session may hold more, and layers of a model share theirs.
for (let call = 0; call < 2; call++) {
  const output = attend(q, keyRows, values, { queryChunk, causal });
  await evaluate(output);
  output.dispose();
  globalThis.gc();
}
const grown = resident('VmHWM') - before;
process.stdout.write(`${JSON.stringify({ planned: plan.bytes.total, grown, chunks: plan.chunks })}\n`);
