import { type Command, commonOptions, modelOptions, type Option, type Values } from '../args/command.js';
import { seeHelp } from '../args/parse.js';
import { budgetOf, engineSettings } from '../args/settings.js';
import { UsageError } from '../args/usage-error.js';
import { type Kept, keptList, oneOf, wholeNumber } from '../args/values.js';
import { type Dataset, firstExamples, formats, readDataset } from '../datasets/read.js';
import { modelHash } from '../engine/model-folder.js';
import { defaultFeedForwardK } from '../engine/open-engine.js';
import type { Engine } from '../engine/types.js';
import { Journal } from '../evaluation/journal.js';
import { runEvaluation } from '../evaluation/run.js';
import { summarize } from '../evaluation/summary.js';
import { variantsOf } from '../evaluation/variant.js';
import { type Io, note, print } from '../io.js';
import { groupTable, scoreTable } from '../output/eval-tables.js';
import { ProgressBar } from '../output/progress.js';
import { requireWritable, writeFileAtomically } from '../output/write-file.js';
import { EngineChild } from '../processes/engine-child.js';
import { DEFAULT_ATTENTION_K, DEFAULT_MAX_NEW_TOKENS } from './ask.js';
import { engineWarning } from './notices.js';

type Text = Option & { readonly type: 'string' };

const options: {
  readonly dataset: Text;
  readonly format: Text;
  readonly k: Text;
  readonly 'feed-forward-k': Text;
  readonly 'random-k': Text;
  readonly limit: Text;
  readonly 'max-new-tokens': Text;
  readonly out: Text;
  readonly resume: Option & { readonly type: 'boolean' };
} & typeof modelOptions &
  typeof commonOptions = {
  dataset: { type: 'string', placeholder: 'FILE', help: 'the questions' },
  format: {
    type: 'string',
    placeholder: 'NAME',
    help: 'squad (JSON), unifiedqa (two columns apart by a tab) or babi (lines of JSON with tasks)',
  },
  k: {
    type: 'string',
    placeholder: 'N,N,...',
    help: `keys that each query keeps, one run each (default ${DEFAULT_ATTENTION_K}); exact keeps all`,
  },
  'feed-forward-k': {
    type: 'string',
    placeholder: 'N,N,...',
    help: 'hidden units that each token keeps, each with every --k (default: a twelfth of them); exact keeps all',
  },
  'random-k': {
    type: 'string',
    placeholder: 'N,N,...',
    help: 'controls: attention keeps that many keys at random instead of the largest',
  },
  limit: { type: 'string', placeholder: 'N', help: 'only the first N questions (of each task, with babi)' },
  'max-new-tokens': {
    type: 'string',
    placeholder: 'N',
    help: `longest answer in tokens (default ${DEFAULT_MAX_NEW_TOKENS})`,
  },
  out: {
    type: 'string',
    placeholder: 'FILE',
    help: 'write the scores as JSON here, and every answer, at once, to FILE.journal.jsonl',
  },
  resume: { type: 'boolean', help: 'go on where a run with the same --out stopped' },
  ...modelOptions,
  ...commonOptions,
};

/** `eval`: scores of exact and top-k on a dataset, side by side. */
export const evaluate: Command<typeof options> = {
  name: 'eval',
  summary: 'scores exact and top-k runs on a dataset, question by question',
  usage: '--dataset FILE --format NAME [--k N,N,...] [--out FILE [--resume]] [options]',
  options,
  notes: [
    'EM and F1 are those of SQuAD 1.1, in per cent. Exact always runs: each other run is compared with it, paired by',
    'question, with a 95 % bootstrap interval.',
    '',
    'Examples:',
    '  pnpm qa eval --dataset dev-v1.1.json --format squad --k 8,16,64 --limit 100 --out scores.json',
    '  pnpm qa eval --dataset dev-v1.1.json --format squad --k 8,16,64 --limit 100 --out scores.json --resume',
  ],

  async run(values, io) {
    const wanted = wantedOf(values);
    const settings = engineSettings(values);
    if (wanted.out !== undefined) requireWritable(wanted.out);
    const dataset = await readDataset(wanted.dataset, wanted.format);
    const progress = new ProgressBar(io.stderr, wanted.isJson);
    try {
      const onProgress = (stage: string, done: number, total: number): void =>
        progress.update(done, total, stage);
      const engine = await EngineChild.start(settings, io.signal, { onProgress });
      try {
        progress.clear();
        const warning = engineWarning(engine.info);
        if (warning !== undefined) note(io, warning);
        return await evaluateWith(engine, dataset, wanted, io);
      } finally {
        await engine.dispose();
      }
    } finally {
      progress.clear();
    }
  },
};

interface Wanted {
  readonly dataset: string;
  readonly format: (typeof formats)[number];
  readonly k: readonly Kept[];
  readonly units: readonly Kept[] | undefined;
  readonly random: readonly Kept[];
  readonly limit: number | undefined;
  readonly maxNewTokens: number;
  readonly out: string | undefined;
  readonly isResumed: boolean;
  readonly isJson: boolean;
  readonly budget: { readonly budgetBytes?: number };
}

function wantedOf(values: Values<typeof options>): Wanted {
  const { dataset, format, limit, out, resume = false } = values;
  if (dataset === undefined) throw new UsageError('eval: --dataset is missing', seeHelp('eval'));
  if (format === undefined) throw new UsageError('eval: --format is missing', seeHelp('eval'));
  if (resume && out === undefined) {
    throw new UsageError('eval: --resume needs --out, the file of the run to go on with', seeHelp('eval'));
  }
  const units = values['feed-forward-k'];
  const random = values['random-k'];
  return {
    dataset,
    format: oneOf('format', formats, format),
    k: keptList('k', values.k ?? String(DEFAULT_ATTENTION_K)),
    units: units === undefined ? undefined : keptList('feed-forward-k', units),
    random: random === undefined ? [] : keptList('random-k', random),
    limit: limit === undefined ? undefined : wholeNumber('limit', limit),
    maxNewTokens: wholeNumber('max-new-tokens', values['max-new-tokens'] ?? String(DEFAULT_MAX_NEW_TOKENS)),
    out,
    isResumed: resume,
    isJson: values.json === true,
    budget: budgetOf(values),
  };
}

async function evaluateWith(engine: Engine, dataset: Dataset, wanted: Wanted, io: Io): Promise<number> {
  const { out, isResumed, isJson, maxNewTokens, budget } = wanted;
  const { info } = engine;
  const units = wanted.units ?? [defaultFeedForwardK(info.feedForwardUnits)];
  const variants = variantsOf(wanted.k, units, wanted.random);
  const examples = firstExamples(dataset.examples, wanted.limit);
  const model = await modelHash(info.model);
  const journal =
    out === undefined
      ? undefined
      : Journal.open(
          `${out}.journal.jsonl`,
          {
            journal: 'topk-attention qa eval',
            version: 1,
            dataset: dataset.hash,
            model,
            backend: info.engine === undefined ? info.backend : `${info.backend} ${info.engine}`,
            maxNewTokens,
          },
          isResumed,
        );
  const bar = new ProgressBar(io.stderr, isJson);
  try {
    const results = await runEvaluation(engine, variants, examples, {
      maxNewTokens,
      ...budget,
      ...(journal && { journal }),
      signal: io.signal,
      onAnswer: (done, variant) => bar.update(done, variants.length * examples.length, variant.name, true),
    });
    bar.clear();
    const summaries = summarize(variants, examples, results);
    const { path, format, hash } = dataset;
    const report = {
      dataset: { path, format, hash, questions: examples.length },
      model: { folder: info.model, hash: model },
      engine: info,
      maxNewTokens,
      variants: summaries,
    };
    if (out !== undefined) writeFileAtomically(out, `${JSON.stringify(report, undefined, 2)}\n`);
    if (isJson) {
      print(io, JSON.stringify(report));
      return 0;
    }
    print(io, scoreTable(summaries));
    const groups = groupTable(summaries);
    if (groups !== undefined) print(io, `\nExact match by task\n\n${groups}`);
    const count = `${examples.length} ${examples.length === 1 ? 'question' : 'questions'}`;
    print(io, `\n${count} of ${path}; ${info.description}`);
    return 0;
  } catch (error) {
    bar.clear();
    if (io.signal.aborted && out !== undefined && !isJson) {
      note(io, `The answers so far are in ${out}.journal.jsonl; the same command with --resume goes on.`);
    }
    throw error;
  } finally {
    journal?.close();
  }
}
