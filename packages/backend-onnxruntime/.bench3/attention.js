// `pnpm bench attention --backend onnxruntime`: see `--help`. Results are checked against float64 before they are timed.
import { cpus } from 'node:os';
import * as ort from 'onnxruntime-node';
import { markdownTable } from '../../../tooling/scripts/bench-helpers.mjs';
import { checkLongSequence, checkMemory, checkTargets, relativeTo } from './checks.js';
import { bestChunk, timeMethods } from './measure.js';
import { measurePeak } from './memory.js';
import { methods } from './methods.js';
import { parseOptions } from './options.js';
import { dataOf, HEAD_DIM, HEADS } from './setup.js';
const log = (text) => console.error(text);
async function measureLength(length, options) {
    const data = dataOf(length);
    const { threads, ks, rounds, chunks } = options;
    const list = [];
    for (const method of methods) {
        for (const k of method.usesK ? ks : ks.slice(0, 1)) {
            if (k > length)
                continue;
            const chunk = await bestChunk(method, { length, k, threads }, data, chunks);
            list.push({ method, setup: { length, k, chunk, threads } });
        }
    }
    return timeMethods(list, data, rounds);
}
function print(rows) {
    const columns = ['keys', 'method', 'k', 'chunk', 'us/query', 'x dense', 'peak MiB', 'max error'];
    const lines = rows.map((row) => [
        String(row.length),
        row.method,
        methods.find(({ name }) => name === row.method)?.usesK ? String(row.k) : '',
        String(row.chunk),
        row.microsecondsPerQuery.toFixed(0),
        row.relative?.toFixed(2) ?? '',
        row.memory === undefined ? '' : String(Math.round(row.memory.peak / 2 ** 20)),
        row.error.toExponential(1),
    ]);
    console.log(markdownTable([columns, ...lines]));
}
async function main() {
    const argv = process.argv.slice(2);
    const options = parseOptions(argv);
    if (options === undefined)
        return 0;
    const environment = {
        command: `pnpm bench attention ${argv.join(' ')}`.trim(),
        date: new Date().toISOString().slice(0, 10),
        device: `${cpus()[0]?.model.trim()}, ${cpus().length} cores`,
        threads: options.threads,
        versions: { node: process.version, onnxruntime: ort.env.versions.node },
        shape: `batch 1, ${HEADS} heads of ${HEAD_DIM}, queries and keys of one length, f32`,
        methods: Object.fromEntries(methods.map(({ name, describe }) => [name, describe])),
        time: 'mean over 16 chunks spread over the sequence, each the best of its rounds, methods taking turns; each method at its own best chunk',
    };
    log(`${environment.device}, ${options.threads} threads, onnxruntime ${environment.versions.onnxruntime}`);
    const timings = [];
    for (const length of options.lengths) {
        log(`timing ${length} keys ...`);
        for (const timing of await measureLength(length, options)) {
            timings.push(timing);
            const { method, k, chunk, microsecondsPerQuery } = timing;
            log(`  ${method}, k ${k}, chunk ${chunk}: ${microsecondsPerQuery.toFixed(0)} us per query`);
        }
    }
    const rows = [];
    for (const timing of timings) {
        const { method, length, k, chunk } = timing;
        const memory = options.skipMemory
            ? undefined
            : await measurePeak('chunks', { method, length, k, chunk, threads: options.threads, chunks: 4 });
        rows.push({ ...timing, relative: relativeTo(timings, timing), memory });
    }
    const checks = [...checkTargets(timings)];
    if (!options.skipMemory) {
        log('measuring memory ...');
        checks.push(...(await checkMemory(options.threads)));
        if (options.isFull)
            checks.push(await checkLongSequence(options.threads));
    }
    if (options.json)
        console.log(JSON.stringify({ ...environment, rows, checks }, null, 2));
    else {
        console.log(`\n${environment.device}; ${options.threads} threads; node ${environment.versions.node}, onnxruntime ${environment.versions.onnxruntime}; ${environment.date}`);
        console.log(`${environment.shape}; ${environment.command}\n`);
        print(rows);
        console.log('');
        for (const { name, passed, detail } of checks)
            console.log(`${passed ? 'ok  ' : 'MISS'} ${name}: ${detail}`);
    }
    return checks.every(({ passed }) => passed) ? 0 : 1;
}
process.exit(await main());
//# sourceMappingURL=attention.js.map