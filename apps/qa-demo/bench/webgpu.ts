// `pnpm bench webgpu`: the embedded model on WebGPU, exact and top-k, on long contexts: answers, time, and how the
// candidate lists of its trained queries and keys decide.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { exactMatch, formatUnifiedQA, loadT5 } from '@topk-attention/models';
import { createWebGpuBackend } from '@topk-attention/webgpu';

const usage = `pnpm bench webgpu [options]

  --app DIR        the folder of the demo, with model/ and data/ (default: this one)
  --repeat a,b     how often the sample document stands in the context (default 1,4)
  --attention-k a,b  kept keys (default 64)
  --feed-forward-k n kept hidden units (default 64)
  --dawn a,b       switches of Dawn, such as enable-dawn-features=...
  --json           print JSON alone`;

const { values } = parseArgs({
  options: {
    app: { type: 'string' },
    repeat: { type: 'string', default: '1,4' },
    'attention-k': { type: 'string', default: '64' },
    'feed-forward-k': { type: 'string', default: '64' },
    dawn: { type: 'string' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

interface Row {
  readonly tokens: number;
  readonly attention: string;
  readonly right: string;
  readonly milliseconds: number;
  readonly slowRows?: number;
  readonly meanList?: number;
  readonly longestList?: number;
}

async function main(): Promise<number> {
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const app = values.app ?? join(import.meta.dirname, '..');
  const document = readFileSync(join(app, 'data', 'sample-document.txt'), 'utf8');
  const questions: { question: string; answer: string }[] = JSON.parse(
    readFileSync(join(app, 'data', 'sample-questions.json'), 'utf8'),
  );
  const backend = await createWebGpuBackend({
    countSelection: true,
    ...(values.dawn !== undefined && { dawnOptions: values.dawn.split(' ') }),
  });
  const model = await loadT5({ backend, source: join(app, 'model') });
  const kept = values['attention-k'].split(',').map(Number);
  const feedForward = { k: Number(values['feed-forward-k']) };
  const rows: Row[] = [];
  const plans = new Set<string>();
  for (const repeat of values.repeat.split(',').map(Number)) {
    const context = Array.from({ length: repeat }, () => document).join('\n');
    for (const choice of ['exact', ...kept] as const) {
      const choices = choice === 'exact' ? {} : { attention: { k: choice }, feedForward };
      let right = 0;
      let tokens = 0;
      const times: number[] = [];
      await backend.selectionCounts();
      for (const [at, { question, answer }] of [...questions, ...questions].entries()) {
        const started = performance.now();
        const result = await model.generate(formatUnifiedQA({ question, context }), {
          ...choices,
          maxNewTokens: 8,
        });
        // The first round compiles shaders.
        if (at < questions.length) continue;
        times.push(performance.now() - started);
        tokens = result.sourceLength;
        right += exactMatch(result.text, [answer]);
      }
      const counts = choice === 'exact' ? undefined : await backend.selectionCounts();
      const [layer] = model.explain({ ...choices, sourceLength: tokens });
      plans.add(`${choice}: ${String(layer?.explanation).split('\n').slice(0, 3).join('; ')}`);
      rows.push({
        tokens,
        attention: choice === 'exact' ? 'exact' : `k ${choice}`,
        right: `${right} of ${questions.length}`,
        milliseconds: times.sort((a, b) => a - b)[times.length >> 1] as number,
        ...(counts && {
          slowRows: counts.slowRows,
          meanList: counts.meanList,
          longestList: counts.longestList,
        }),
      });
    }
  }
  const { vendor, description } = backend.facts;
  const device = `${vendor} ${description}`;
  model.dispose();
  await backend.dispose();
  if (values.json) {
    console.log(JSON.stringify({ device, node: process.version, rows, plans: [...plans] }, null, 2));
    return 0;
  }
  console.log(`${device}; node ${process.version}; ${new Date().toISOString().slice(0, 10)}`);
  for (const plan of plans) console.log(plan);
  console.log('tokens | attention | right | ms an answer | rows selected again | mean list | longest list');
  for (const { tokens, attention, right, milliseconds, slowRows, meanList, longestList } of rows) {
    const lists = slowRows === undefined ? ['', '', ''] : [slowRows, meanList?.toFixed(0), longestList];
    console.log([tokens, attention, right, milliseconds.toFixed(1), ...lists].join(' | '));
  }
  return 0;
}

process.exit(await main());
