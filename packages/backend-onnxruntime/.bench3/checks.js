import { measurePeak } from './memory.js';
/** Time relative to dense attention at k = 64: what has to be reached, and what is aimed at. */
const targets = [
    { length: 8192, must: 1.7, aim: 1.4 },
    { length: 32768, must: 0.9, aim: 0.75 },
    { length: 131072, must: 0.65, aim: 0.55 },
];
export function relativeTo(timings, one) {
    // Both are MatMul, Softmax, MatMul; the faster one counts, so that a bad moment of the other does not flatter.
    const dense = timings.filter(({ method, length }) => (method === 'dense' || method === 'exact') && length === one.length);
    if (dense.length === 0)
        return undefined;
    return one.microsecondsPerQuery / Math.min(...dense.map((other) => other.microsecondsPerQuery));
}
export function checkTargets(timings) {
    return targets.flatMap(({ length, must, aim }) => {
        const own = timings.find((one) => one.method === 'top-k' && one.length === length && one.k === 64);
        const ratio = own && relativeTo(timings, own);
        if (ratio === undefined)
            return [];
        return [
            {
                name: `top-k beside dense at ${length} keys, k 64`,
                passed: ratio <= must,
                detail: `${ratio.toFixed(2)} of dense (must ${must}, aim ${aim}${ratio <= aim ? ', reached' : ''})`,
            },
        ];
    });
}
const megabytes = (bytes) => `${Math.round(bytes / 2 ** 20)} MiB`;
/** Acceptance anchors 5 and 6 of the paper's evaluation: linear memory, and what a larger chunk buys. */
export async function checkMemory(threads) {
    const chunk = 64;
    const { baseline: empty } = await measurePeak('chunks', {
        method: 'dense',
        length: 64,
        k: 16,
        chunk: 16,
        threads,
        chunks: 1,
    });
    const bytes = async (method, length, own, kind) => {
        const { peak } = await measurePeak(kind, { method, length, k: 64, chunk: own, threads, chunks: 1 });
        return peak - empty;
    };
    const [short, long] = [
        await bytes('top-k', 8192, chunk, 'whole'),
        await bytes('top-k', 16384, chunk, 'whole'),
    ];
    const [vanillaShort, vanillaLong] = [
        await bytes('dense', 2048, 2048, 'chunks'),
        await bytes('dense', 4096, 4096, 'chunks'),
    ];
    const growth = long / short;
    const vanillaGrowth = vanillaLong / vanillaShort;
    const sweep = [];
    for (const own of [16, 64, 256, 1024]) {
        const { peak, milliseconds } = await measurePeak('whole', {
            method: 'top-k',
            length: 8192,
            k: 64,
            chunk: own,
            threads,
            chunks: 1,
        });
        sweep.push({ chunk: own, bytes: peak - empty, time: milliseconds });
    }
    const [first, , third, last] = sweep;
    const listed = sweep.map((one) => `${one.chunk}: ${megabytes(one.bytes)}, ${(one.time / 1000).toFixed(1)} s`);
    return [
        {
            name: 'anchor 5: twice the length, about twice the memory; without chunks four times',
            passed: growth > 1.4 && growth < 2.4 && vanillaGrowth > 2.8,
            detail: `top-k 8,192 to 16,384 tokens: ${megabytes(short)} to ${megabytes(long)} (${growth.toFixed(2)} times); dense without chunks, 2,048 to 4,096: ${megabytes(vanillaShort)} to ${megabytes(vanillaLong)} (${vanillaGrowth.toFixed(2)} times)`,
        },
        {
            name: 'anchor 6: a larger chunk takes more memory and less time, until time stays flat',
            passed: last.bytes > 2 * first.bytes && third.time < first.time && last.time > 0.7 * third.time,
            detail: `8,192 tokens, by chunk: ${listed.join('; ')}`,
        },
    ];
}
/** A whole self-attention of 65,536 tokens, 12 heads: everything resident, in a process of its own. */
export async function checkLongSequence(threads) {
    const { peak, milliseconds } = await measurePeak('whole', {
        method: 'top-k',
        length: 65536,
        k: 64,
        chunk: 0,
        threads,
        chunks: 0,
    });
    return {
        name: 'self-attention of 65,536 tokens, 12 heads, under 2 GiB of process memory',
        passed: peak < 2 * 2 ** 30,
        detail: `${(peak / 2 ** 30).toFixed(2)} GiB peak, ${(milliseconds / 1000).toFixed(0)} s`,
    };
}
//# sourceMappingURL=checks.js.map