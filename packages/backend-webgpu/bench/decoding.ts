// `pnpm bench decoding --backend webgpu`: short calls, as decoding makes them.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { createWebGpuBackend } from '@topk-attention/webgpu';
import { besideOnnx, besideOnnxTable } from './beside-onnx.js';
import { DAWN_OPTIONS } from './dawn-options.js';
import { fewQueries } from './few-queries.js';
import { hostTimes } from './host-time.js';
import { markdownTable } from './print-table.js';
import { tokenRates } from './token-rate.js';

const usage = `pnpm bench decoding --backend webgpu [options]

  --parts a,b     queries: few queries over cached keys
                  host: what a call costs the host
                  decoder: tokens a second of a T5 of 12 layers (default queries,host,decoder)
                  onnx: ONNX Runtime's own attention, and ours at the same lengths in both modes
  --keys a,b      cached keys                               (default 4096,16384,65536,262144)
  --queries n     queries over them                         (default 1)
  --tokens a,b    tokens of the calls whose host time is taken  (default 512,1024,2048)
  --heads n       heads of 64                               (default 12)
  --k n           keys kept by top-k                        (default 64)
  --onnx-tokens a,b  tokens of the calls beside ONNX Runtime  (default 512,1024,2048,4096,8192,16384)
  --source n      tokens of the decoder's source            (default 512)
  --new n         tokens that it generates                  (default 120)
  --size name     of the decoder: base, or tiny for a trial (default base)
  --calls n       calls in a row                            (default 50)
  --mode name     plain or tensor: which of Dawn's features (default plain)
  --out file      also write JSON there`;

const { values } = parseArgs({
  options: {
    backend: { type: 'string' },
    parts: { type: 'string', default: 'queries,host,decoder' },
    keys: { type: 'string', default: '4096,16384,65536,262144' },
    queries: { type: 'string', default: '1' },
    tokens: { type: 'string', default: '512,1024,2048' },
    'onnx-tokens': { type: 'string', default: '512,1024,2048,4096,8192,16384' },
    source: { type: 'string', default: '512' },
    new: { type: 'string', default: '120' },
    size: { type: 'string', default: 'base' },
    heads: { type: 'string', default: '12' },
    k: { type: 'string', default: '64' },
    calls: { type: 'string', default: '50' },
    mode: { type: 'string', default: 'plain' },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help || !(values.mode in DAWN_OPTIONS)) {
  console.log(usage);
  process.exit(values.help ? 0 : 2);
}
const numbers = (text: string): readonly number[] => text.split(',').map(Number);
const [heads, k, calls] = [Number(values.heads), Number(values.k), Number(values.calls)];
const parts = values.parts.split(',');
const found: Record<string, readonly object[]> = {};
const count = (value: number): string => value.toLocaleString('en-US');
// Before there is a device for the other parts: each engine has the GPU for itself.
if (parts.includes('onnx')) {
  const tokens = numbers(values['onnx-tokens']);
  const beside = await besideOnnx({ heads, dim: 64, tokens, k, calls });
  found.onnx = beside.onnx;
  found['beside onnx'] = beside.own;
  console.log("\nbeside ONNX Runtime's MultiHeadAttention on WebGPU, ms a layer, host time included\n");
  console.log(besideOnnxTable(beside, { tokens, k }));
}
const backend = await createWebGpuBackend({
  dawnOptions: DAWN_OPTIONS[values.mode as keyof typeof DAWN_OPTIONS],
  onWarning: () => {},
});
console.log(
  `${backend.facts.description}, ${values.mode}, ${heads} heads of 64, node ${process.version}, ${new Date().toISOString().slice(0, 10)}`,
);
if (parts.includes('queries')) {
  const queries = Number(values.queries);
  const rows = await fewQueries(backend, { heads, dim: 64, queries, keys: numbers(values.keys), k, calls });
  found.queries = rows;
  console.log(`\n${queries} queries, ms a call (mean of ${calls} in a row) and on the GPU\n`);
  console.log(
    markdownTable([
      ['keys', 'attention', 'a call', 'GPU', 'error'],
      ...rows.map((row) => [
        count(row.keys),
        row.kind,
        row.callMs.toFixed(3),
        row.gpuMs.toFixed(3),
        row.error.toExponential(1),
      ]),
    ]),
  );
  for (const { keys, kind, kernels } of rows) {
    const parts = Object.entries(kernels).map(([name, ms]) => `${name} ${ms.toFixed(3)}`);
    console.error(`${count(keys)} ${kind}: ${parts.join(', ')}`);
  }
}
if (parts.includes('host')) {
  const rows = await hostTimes(backend, { heads, dim: 64, tokens: numbers(values.tokens), k, calls });
  found.host = rows;
  console.log(`\nms of host time a call (median of ${calls}), and a call in a row of 10\n`);
  console.log(
    markdownTable([
      [
        'tokens',
        'attention',
        'causal',
        'host, called',
        'host, recorded',
        'in a row, called',
        'in a row, recorded',
      ],
      ...rows.map((row) => [
        count(row.tokens),
        row.kind,
        row.causal ? 'yes' : 'no',
        ...[row.calledMs, row.recordedMs, row.calledWholeMs, row.recordedWholeMs].map((ms) => ms.toFixed(3)),
      ]),
    ]),
  );
}
if (parts.includes('decoder')) {
  const rows = await tokenRates(backend, {
    ...(values.size === 'tiny'
      ? { layers: 2, width: 64, heads: 2, hidden: 128, vocabulary: 300 }
      : { layers: 12, width: 768, heads: 12, hidden: 3072, vocabulary: 32_128 }),
    ...{ sourceTokens: Number(values.source), newTokens: Number(values.new), k },
  });
  found.decoder = rows;
  console.log(`\ngreedy decoding, T5 decoder (${values.size}), source of ${values.source} tokens\n`);
  console.log(
    markdownTable([
      ['attention', 'steps', 'new tokens', 'first, ms', 'tokens/s', 'tokens/s, steady', 'launches a token'],
      ...rows.map((row) => [
        row.attention,
        row.isRecorded ? 'recorded' : 'called',
        count(row.tokens),
        ...[row.firstMs, row.perSecond, row.steadyPerSecond, row.launchesPerToken].map((one) =>
          one.toFixed(1),
        ),
      ]),
    ]),
  );
  for (const { attention, isRecorded, kernels } of rows) {
    const all = Object.entries(kernels).sort((a, b) => b[1] - a[1]);
    const total = all.reduce((sum, [, ms]) => sum + ms, 0);
    const parts = all.slice(0, 14).map(([name, ms]) => `${name} ${ms.toFixed(3)}`);
    console.error(
      `${attention}, ${isRecorded ? 'recorded' : 'called'}: ${total.toFixed(2)} ms on the GPU: ${parts.join(', ')}`,
    );
  }
}
if (values.out !== undefined) writeFileSync(values.out, JSON.stringify(found, null, 2));
await backend.dispose();
