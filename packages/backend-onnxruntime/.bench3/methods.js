import { exactAttention, topKAttention } from '@topk-attention/core';
import { createOnnxRuntimeBackend, fromOrt } from '@topk-attention/onnxruntime';
import * as ort from 'onnxruntime-node';
import { GraphBuilder } from '../dist/onnx/graph-builder.js';
import { encodeModel } from '../dist/onnx/write-model.js';
import { HEAD_DIM, HEADS, queriesOf } from './setup.js';
const scoreBytes = (length, chunk) => HEADS * chunk * length * 4;
/** A graph of the engine's own operators, one run per chunk. Keys are transposed beforehand where it wants them so. */
async function rawRunner(setup, data, build, layout, transposeKeys) {
    const onnx = new GraphBuilder();
    const q = onnx.input('q', 'f32', layout.q);
    const k = onnx.input('k', 'f32', layout.k);
    const v = onnx.input('v', 'f32', layout.v);
    const name = onnx.output(build(onnx, q, k, v), 'f32', layout.out);
    const session = await ort.InferenceSession.create(encodeModel(onnx.model()), {
        intraOpNumThreads: setup.threads,
    });
    const keys = transposeKeys ? transposed(data) : data.k;
    const feeds = {
        k: new ort.Tensor('float32', keys, layout.k),
        v: new ort.Tensor('float32', data.v, layout.v),
    };
    const { chunk } = setup;
    const isInterleaved = layout.q.length === 3 && layout.q[0] === 1;
    return {
        run: async (starts) => {
            const rows = starts.length * chunk;
            const output = new Float32Array(HEADS * rows * HEAD_DIM);
            let runMilliseconds = 0;
            for (const [index, start] of starts.entries()) {
                const own = queriesOf(data, [start], chunk);
                const queries = isInterleaved ? interleave(own, chunk) : own;
                const feed = { ...feeds, q: new ort.Tensor('float32', queries, layout.q) };
                const from = performance.now();
                const results = await session.run(feed);
                runMilliseconds += performance.now() - from;
                const raw = results[name]?.data;
                const part = isInterleaved ? deinterleave(raw, chunk) : raw;
                for (let head = 0; head < HEADS; head++) {
                    const values = part.subarray(head * chunk * HEAD_DIM, (head + 1) * chunk * HEAD_DIM);
                    output.set(values, (head * rows + index * chunk) * HEAD_DIM);
                }
            }
            return { runMilliseconds, callMilliseconds: 0, output };
        },
        close: () => session.release(),
    };
}
function transposed({ k, length }) {
    const result = new Float32Array(k.length);
    for (let head = 0; head < HEADS; head++) {
        const from = head * length * HEAD_DIM;
        for (let row = 0; row < length; row++) {
            for (let at = 0; at < HEAD_DIM; at++) {
                result[from + at * length + row] = k[from + row * HEAD_DIM + at];
            }
        }
    }
    return result;
}
/** [12, chunk, 64] as [chunk, 12 * 64]. */
function interleave(values, chunk) {
    const result = new Float32Array(values.length);
    for (let head = 0; head < HEADS; head++) {
        for (let row = 0; row < chunk; row++) {
            const from = (head * chunk + row) * HEAD_DIM;
            result.set(values.subarray(from, from + HEAD_DIM), (row * HEADS + head) * HEAD_DIM);
        }
    }
    return result;
}
function deinterleave(values, chunk) {
    const result = new Float32Array(values.length);
    for (let head = 0; head < HEADS; head++) {
        for (let row = 0; row < chunk; row++) {
            const from = (row * HEADS + head) * HEAD_DIM;
            result.set(values.subarray(from, from + HEAD_DIM), (head * chunk + row) * HEAD_DIM);
        }
    }
    return result;
}
const plainLayout = ({ length, chunk }) => ({
    q: [HEADS, chunk, HEAD_DIM],
    k: [HEADS, HEAD_DIM, length],
    v: [HEADS, length, HEAD_DIM],
    out: [HEADS, chunk, HEAD_DIM],
});
const scaled = (onnx, q) => onnx.op('Mul', [q, onnx.f32(HEAD_DIM ** -0.5)]);
const dense = {
    name: 'dense',
    describe: 'MatMul, Softmax, MatMul in chunks of queries, keys transposed beforehand',
    usesK: false,
    scoreBytes,
    create: (setup, data) => rawRunner(setup, data, (onnx, q, k, v) => {
        const scores = onnx.op('MatMul', [scaled(onnx, q), k]);
        return onnx.op('MatMul', [onnx.op('Softmax', [scores], { axis: -1 }), v]);
    }, plainLayout(setup), true),
};
const composed = {
    name: 'composed',
    describe: "MatMul, TopK, Softmax, Gather of V, MatMul: the engine's own operators in a row",
    usesK: true,
    scoreBytes,
    create: (setup, data) => rawRunner(setup, data, (onnx, q, keys, v) => {
        const { length, chunk, k } = setup;
        const scores = onnx.op('MatMul', [scaled(onnx, q), keys]);
        const [values, indices] = onnx.ops('TopK', [scores, onnx.i64([k])], 2, { sorted: 0 });
        const weights = onnx.op('Softmax', [values], { axis: -1 });
        const first = onnx.op('Range', [onnx.i64(0), onnx.i64(HEADS * length), onnx.i64(length)]);
        const flat = onnx.op('Add', [indices, onnx.reshape(first, [HEADS, 1, 1])]);
        const rows = onnx.op('Gather', [onnx.reshape(v, [HEADS * length, HEAD_DIM]), flat]);
        const product = onnx.op('MatMul', [onnx.reshape(weights, [HEADS, chunk, 1, k]), rows]);
        return onnx.reshape(product, [HEADS, chunk, HEAD_DIM]);
    }, plainLayout(setup), true),
};
const multiHead = {
    name: 'MultiHeadAttention',
    describe: "the engine's fused com.microsoft.MultiHeadAttention",
    usesK: false,
    scoreBytes: () => 0,
    create: (setup, data) => {
        const { length, chunk } = setup;
        return rawRunner(setup, data, (onnx, q, k, v) => onnx.op('MultiHeadAttention', [q, k, v], { num_heads: HEADS }, 'com.microsoft'), {
            q: [1, chunk, HEADS * HEAD_DIM],
            k: [1, HEADS, length, HEAD_DIM],
            v: [1, HEADS, length, HEAD_DIM],
            out: [1, chunk, HEADS * HEAD_DIM],
        }, false);
    },
};
/** This package, through its public interface. */
function own(name, describe) {
    return {
        name,
        describe,
        usesK: name === 'top-k',
        scoreBytes,
        create: async ({ length, k, chunk, threads }, data) => {
            const backend = await createOnnxRuntimeBackend({ ort, threads });
            const shape = [1, HEADS, length, HEAD_DIM];
            const keys = fromOrt(backend, new ort.Tensor('float32', data.k, shape));
            const values = fromOrt(backend, new ort.Tensor('float32', data.v, shape));
            const attend = (queries) => name === 'exact'
                ? exactAttention(queries, keys, values, { queryChunk: chunk })
                : topKAttention(queries, keys, values, { k, queryChunk: chunk });
            return {
                run: async (starts) => {
                    const array = queriesOf(data, starts, chunk);
                    const queries = fromOrt(backend, new ort.Tensor('float32', array, [1, HEADS, starts.length * chunk, HEAD_DIM]));
                    const before = backend.statistics().runMilliseconds;
                    const from = performance.now();
                    const result = attend(queries);
                    const output = (await result.data());
                    const milliseconds = performance.now() - from;
                    const runMilliseconds = backend.statistics().runMilliseconds - before;
                    queries.dispose();
                    result.dispose();
                    return { runMilliseconds, callMilliseconds: milliseconds - runMilliseconds, output };
                },
                close: async () => backend.dispose(),
            };
        },
    };
}
export const methods = [
    dense,
    multiHead,
    own('exact', 'exactAttention of this package'),
    composed,
    own('top-k', 'topKAttention of this package'),
];
export function methodNamed(name) {
    const found = methods.find((method) => method.name === name);
    if (found === undefined)
        throw new Error(`no method is called ${name}`);
    return found;
}
//# sourceMappingURL=methods.js.map