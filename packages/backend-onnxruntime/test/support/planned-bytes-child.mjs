// One call in a process of its own: prints the planned bytes and what the process really grew by, as JSON.
// Linux only. Started by the planned-bytes tests with `--expose-gc`, as what is garbage must not count as held.
import { readFileSync, writeFileSync } from 'node:fs';
import {
  evaluate,
  exactAttention,
  explain,
  explainFeedForward,
  pullback,
  tensor,
  topKAttention,
  topKFeedForward,
} from '@topk-attention/core';
import { createOnnxRuntimeBackend, fromOrt } from '@topk-attention/onnxruntime';
import * as ort from 'onnxruntime-node';

/** A line of this process's memory map in bytes: VmRSS is resident now, VmHWM at the most. */
function resident(line) {
  const found = new RegExp(`^${line}:\\s*(\\d+) kB$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(found[1]) * 1024;
}

const backend = await createOnnxRuntimeBackend({ ort, threads: 1 });

function random(shape) {
  const size = shape.reduce((product, extent) => product * extent, 1);
  const data = Float32Array.from({ length: size }, () => Math.random() - 0.5);
  return fromOrt(backend, new ort.Tensor('float32', data, shape));
}

/** Inputs, the function, and its explanation. */
function attention({ batch = 1, heads, headDim, queries, k, gradient, ...given }) {
  const { keyHeads = heads, valueDim = headDim, keys = queries, bias, relative, keyLengths, ...rest } = given;
  const inputs = {
    q: random([batch, heads, queries, headDim]),
    k: random([batch, keyHeads, keys, headDim]),
    v: random([batch, keyHeads, keys, valueDim]),
  };
  const options = {
    ...rest,
    ...(bias && { bias: random([1, heads, queries, keys]) }),
    ...(relative && {
      relativeBias: { table: random([32, heads]), bidirectional: true, maxDistance: 128 },
    }),
    ...(keyLengths && { keyLengths: tensor(backend, new Int32Array(batch).fill(keys - 3)) }),
  };
  const shapes = { q: inputs.q.shape, k: inputs.k.shape, v: inputs.v.shape };
  return {
    inputs,
    cotangent: random([batch, heads, queries, valueDim]),
    run: (one) =>
      k === undefined
        ? exactAttention(one.q, one.k, one.v, options)
        : topKAttention(one.q, one.k, one.v, { k, ...options }),
    explain: () =>
      explain(backend, shapes, { ...options, ...(k !== undefined && { k }), training: gradient === true }),
  };
}

function feedForward({ tokens, dim, hidden, gradient, ...options }) {
  return {
    inputs: { x: random([tokens, dim]), wIn: random([dim, hidden]), wOut: random([hidden, dim]) },
    cotangent: random([tokens, dim]),
    run: ({ x, ...weights }) => topKFeedForward(x, weights, options),
    explain: () =>
      explainFeedForward(
        backend,
        { tokens, inputDim: dim, hidden, outputDim: dim },
        { ...options, training: gradient === true },
      ),
  };
}

async function call({ inputs, cotangent, run }, isGradient) {
  if (!isGradient) {
    const output = run(inputs);
    await evaluate(output);
    return output.dispose();
  }
  const pulled = pullback(run, inputs);
  const made = [pulled.output, ...Object.values(pulled.backward(cotangent))];
  await evaluate(...made);
  for (const one of made) one.dispose();
  pulled.dispose();
}

const wanted = JSON.parse(process.argv[2]);
const { budgetBytes, ...small } = wanted;
const make = wanted.tokens === undefined ? attention : feedForward;
// The engine's own start, its libraries and code that is compiled on first use are no part of a call.
const sizes =
  wanted.tokens === undefined
    ? { queries: 64, keys: 64, queryChunk: 16 }
    : { tokens: 8, dim: 8, hidden: 16, k: 4, tokenChunk: 4 };
await call(make({ ...small, ...sizes }), wanted.gradient);

const one = make(wanted);
const { plan, backward } = one.explain();
const planned = Math.max(plan.bytes.total, backward?.plan.bytes.total ?? 0);
globalThis.gc();
// Forgets the peak that making the inputs reached.
writeFileSync('/proc/self/clear_refs', '5');
const before = resident('VmRSS');
// Twice: from its second run on a session may hold more, and layers of a model share theirs.
for (let turn = 0; turn < 2; turn++) {
  await call(one, wanted.gradient);
  globalThis.gc();
}
const grown = resident('VmHWM') - before;
process.stdout.write(`${JSON.stringify({ planned, grown, chunks: plan.chunks })}\n`);
