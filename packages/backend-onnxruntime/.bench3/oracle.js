import { HEAD_DIM, HEADS } from './setup.js';
/** One output row in float64: softmax over the k largest scores (all for undefined), times V. */
function exactRow(data, head, query, k) {
    const { length } = data;
    const scale = HEAD_DIM ** -0.5;
    const q = data.q.subarray((head * length + query) * HEAD_DIM, (head * length + query + 1) * HEAD_DIM);
    const scores = new Float64Array(length);
    for (let key = 0; key < length; key++) {
        const from = (head * length + key) * HEAD_DIM;
        let sum = 0;
        for (let at = 0; at < HEAD_DIM; at++)
            sum += q[at] * data.k[from + at];
        scores[key] = sum * scale;
    }
    const keys = Uint32Array.from(scores, (_, key) => key);
    if (k !== undefined)
        keys.sort((a, b) => scores[b] - scores[a] || a - b);
    const kept = keys.subarray(0, k ?? length);
    const largest = kept.reduce((max, key) => Math.max(max, scores[key]), Number.NEGATIVE_INFINITY);
    const row = new Float64Array(HEAD_DIM);
    let total = 0;
    for (const key of kept) {
        const weight = Math.exp(scores[key] - largest);
        total += weight;
        const from = (head * length + key) * HEAD_DIM;
        for (let at = 0; at < HEAD_DIM; at++)
            row[at] = row[at] + weight * data.v[from + at];
    }
    return row.map((value) => value / total);
}
/** Largest error of a few rows of [12, rows, 64] against float64; throws above the tolerance. */
export function checkRows(name, data, output, queries, k) {
    const rows = queries.length;
    let worst = 0;
    for (const [head, row] of [
        [0, 0],
        [5, rows >> 1],
        [HEADS - 1, rows - 1],
    ]) {
        const expected = exactRow(data, head, queries[row], k);
        const from = (head * rows + row) * HEAD_DIM;
        for (let at = 0; at < HEAD_DIM; at++) {
            worst = Math.max(worst, Math.abs(output[from + at] - expected[at]));
        }
    }
    if (!(worst < 1e-4))
        throw new Error(`${name}: wrong result, off by ${worst} from float64`);
    return worst;
}
//# sourceMappingURL=oracle.js.map