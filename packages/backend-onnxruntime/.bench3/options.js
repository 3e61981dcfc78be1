import { parseArgs } from 'node:util';
import { DEFAULT_THREADS } from './setup.js';
const usage = `pnpm bench attention --backend onnxruntime [options]

Self-attention, 12 heads of 64, on ONNX Runtime's CPU provider: time per query and peak memory of top-k attention beside
dense attention, exact attention in chunks, the composed operators and the engine's fused MultiHeadAttention.

  --full            lengths 2,048 to 131,072 (every power of two), k 16, 64 and 256, and 65,536 tokens end to end
  --lengths a,b     sequence lengths                      (default 2048,8192,32768)
  --k a,b           kept keys                             (default 64)
  --chunks a,b      query chunks to find each method's best of (default 16 to 1024, every power of two)
  --threads n       threads of one operator               (default 2, or the cores there are)
  --rounds n        times each group of chunks is timed   (default 2)
  --no-memory       leave out the child processes that measure memory
  --json            print JSON alone`;
/** Undefined when only help was asked for. */
export function parseOptions(argv) {
    const { values } = parseArgs({
        args: [...argv],
        options: {
            backend: { type: 'string' },
            full: { type: 'boolean', default: false },
            lengths: { type: 'string' },
            k: { type: 'string' },
            chunks: { type: 'string' },
            threads: { type: 'string' },
            rounds: { type: 'string' },
            'no-memory': { type: 'boolean', default: false },
            json: { type: 'boolean', default: false },
            help: { type: 'boolean', default: false },
        },
    });
    if (values.help) {
        console.log(usage);
        return undefined;
    }
    const list = (text, otherwise) => text === undefined ? otherwise : text.split(',').map(positive);
    return {
        lengths: list(values.lengths, values.full ? [2048, 4096, 8192, 16384, 32768, 65536, 131072] : [2048, 8192, 32768]),
        ks: list(values.k, values.full ? [16, 64, 256] : [64]),
        chunks: list(values.chunks, [16, 32, 64, 128, 256, 512, 1024]),
        threads: values.threads === undefined ? DEFAULT_THREADS : positive(values.threads),
        rounds: values.rounds === undefined ? 2 : positive(values.rounds),
        isFull: values.full,
        json: values.json,
        skipMemory: values['no-memory'],
    };
}
function positive(text) {
    const value = Number(text);
    if (Number.isSafeInteger(value) && value > 0)
        return value;
    throw new Error(`"${text}" is not a positive whole number\n\n${usage}`);
}
//# sourceMappingURL=options.js.map