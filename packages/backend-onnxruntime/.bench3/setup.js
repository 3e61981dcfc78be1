import { availableParallelism } from 'node:os';
import { numbers } from '../../../tooling/scripts/bench-helpers.mjs';
/** The shape that every figure here is for. */
export const HEADS = 12;
export const HEAD_DIM = 64;
export const DEFAULT_THREADS = Math.min(2, availableParallelism());
export function dataOf(length) {
    const count = HEADS * length * HEAD_DIM;
    return { length, q: numbers(count, 1), k: numbers(count, 2), v: numbers(count, 3) };
}
/** Queries of several chunks, head by head: [12, chunks * chunk, 64]. */
export function queriesOf({ q, length }, starts, chunk) {
    const rows = starts.length * chunk;
    const result = new Float32Array(HEADS * rows * HEAD_DIM);
    for (let head = 0; head < HEADS; head++) {
        for (const [index, start] of starts.entries()) {
            const from = (head * length + start) * HEAD_DIM;
            result.set(q.subarray(from, from + chunk * HEAD_DIM), (head * rows + index * chunk) * HEAD_DIM);
        }
    }
    return result;
}
/** First queries of `count` chunks, evenly spread over the sequence. */
export function spread(length, chunk, count) {
    return Array.from({ length: count }, (_, index) => count === 1 ? 0 : Math.floor((index * (length - chunk)) / (count - 1)));
}
//# sourceMappingURL=setup.js.map