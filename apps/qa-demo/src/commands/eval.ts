import { backendWarning, textTable } from '@topk-attention/app-kit';
import {
  type Command,
  type CommandUnknownOpts,
  type Io,
  Journal,
  note,
  Option,
  ProgressBar,
  print,
  requireWritable,
  wholeNumber,
  writeFileAtomically,
} from '@topk-attention/app-kit/node';
import { type Dataset, type DatasetFormat, firstExamples, formats, readDataset } from '../datasets/read.js';
import { type CrossMechanism, crossMechanismNames } from '../engine/cross-mechanism.js';
import { EngineChild } from '../engine/engine-child.js';
import { modelFiles, modelHash } from '../engine/model-files.js';
import { defaultFeedForwardK, type Kept } from '../engine/protocol.js';
import { type Entry, entryFormat } from '../evaluation/entry.js';
import { runEvaluation } from '../evaluation/run.js';
import { summarize } from '../evaluation/summary.js';
import { variantsOf } from '../evaluation/variant.js';
import { groupTable, scoreTable } from '../output/eval-tables.js';
import { crossList, crossVariants, seedList } from './cross-values.js';
import { keptList } from './kept-values.js';
import {
  budgetOf,
  DEFAULT_ATTENTION_K,
  DEFAULT_MAX_NEW_TOKENS,
  engineSettings,
  type ModelOptions,
  modelCommand,
} from './model-command.js';

const notes = `
EM and F1 are those of SQuAD 1.1, in per cent. Exact always runs: each other run is compared with it, paired by
question, with a 95 % bootstrap interval.

Examples:
  pnpm qa eval --dataset dev-v1.1.json --format squad --k 8,16,64 --limit 100 --out scores.json
  pnpm qa eval --dataset dev-v1.1.json --format squad --k 8,16,64 --limit 100 --out scores.json --resume`;

type EvalOptions = ModelOptions & {
  dataset: string;
  format: DatasetFormat;
  k: readonly Kept[];
  feedForwardK?: Kept[];
  randomK: readonly Kept[];
  crossAttention: readonly CrossMechanism[];
  featureSeeds: readonly number[];
  limit?: number;
  maxNewTokens: number;
  out?: string;
  resume?: true;
};

/** `eval`: scores of exact and top-k on a dataset, side by side. */
export function evalCommand(io: Io): CommandUnknownOpts {
  const command: Command<[], EvalOptions> = modelCommand('eval')
    .summary('scores exact and top-k runs on a dataset')
    .description('Scores exact and top-k runs on a dataset, question by question.')
    .usage('--dataset FILE --format NAME [--k N,N,...] [--out FILE [--resume]] [options]')
    .requiredOption('--dataset <FILE>', 'the questions')
    .addOption(
      new Option(
        '--format <NAME>',
        'squad is JSON, unifiedqa two columns separated by a tab, babi lines of JSON with tasks',
      )
        .choices(formats)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('--k <N,N,...>', 'keys that each query keeps, one run each; exact keeps all')
        .default([DEFAULT_ATTENTION_K], String(DEFAULT_ATTENTION_K))
        .argParser(keptList),
    )
    .option(
      '--feed-forward-k <N,N,...>',
      'hidden units that each token keeps, each with every --k (default: a twelfth of them); exact keeps all',
      keptList,
    )
    .addOption(
      new Option(
        '--random-k <N,N,...>',
        'controls: attention keeps that many keys at random instead of the largest',
      )
        .default([], 'none')
        .argParser(keptList),
    )
    .addOption(
      new Option(
        '--cross-attention <NAME[:N],...>',
        `cross-attention alone, untrained: exact, top-k:KEYS, performer:FEATURES; of ${crossMechanismNames.join(', ')} those that do not estimate softmax are reported as refused`,
      )
        .default([], 'none')
        .argParser(crossList),
    )
    .addOption(
      new Option('--feature-seeds <N,N,...>', 'seeds of random features, with --cross-attention; a run each')
        .default([1], '1')
        .argParser(seedList),
    )
    .option('--limit <N>', 'only the first N questions (of each task, with babi)', wholeNumber)
    .option('--max-new-tokens <N>', 'longest answer in tokens', wholeNumber, DEFAULT_MAX_NEW_TOKENS)
    .option('--out <FILE>', 'write the scores as JSON here, and every answer, at once, to FILE.journal.jsonl')
    .option('--resume', 'continue where a run with the same --out stopped')
    .addHelpText('after', notes);
  return command.action(async (options) => {
    if (options.resume && options.out === undefined)
      command.error('--resume needs --out, the file of the run to continue');
    await evaluate(options, io);
  });
}

async function evaluate(options: EvalOptions, io: Io): Promise<void> {
  if (options.out !== undefined) requireWritable(options.out);
  const dataset = await readDataset(options.dataset, options.format);
  const progress = new ProgressBar(io.stderr, options.json);
  try {
    const engine = await EngineChild.start(engineSettings(options), io.signal, ({ stage, done, total }) =>
      progress.update(done, total, stage),
    );
    try {
      progress.clear();
      const warning = backendWarning(engine.info);
      if (warning !== undefined) note(io, warning);
      await evaluateWith(engine, dataset, options, io);
    } finally {
      await engine.dispose();
    }
  } finally {
    progress.clear();
  }
}

async function evaluateWith(
  engine: EngineChild,
  dataset: Dataset,
  options: EvalOptions,
  io: Io,
): Promise<void> {
  const { out, resume: isResumed = false, json: isJson = false, maxNewTokens } = options;
  const { info } = engine;
  const units = options.feedForwardK ?? [defaultFeedForwardK(info.feedForwardUnits)];
  const { crosses, refused } = crossVariants(options.crossAttention, options.featureSeeds);
  const variants = variantsOf(options.k, units, options.randomK, crosses);
  const examples = firstExamples(dataset.examples, options.limit);
  const model = await modelHash(modelFiles(info.model, { localFilesOnly: true }));
  const journal =
    out === undefined
      ? undefined
      : Journal.open<Entry>(
          `${out}.journal.jsonl`,
          {
            journal: 'topk-attention qa eval',
            version: 1,
            dataset: dataset.hash,
            model,
            backend: info.engine === undefined ? info.backend : `${info.backend} ${info.engine}`,
            maxNewTokens,
          },
          entryFormat,
          isResumed,
        );
  const bar = new ProgressBar(io.stderr, isJson);
  try {
    const results = await runEvaluation(engine, variants, examples, {
      maxNewTokens,
      ...budgetOf(options),
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
      ...(refused.length > 0 && { refused }),
    };
    if (out !== undefined) writeFileAtomically(out, `${JSON.stringify(report, undefined, 2)}\n`);
    if (isJson) {
      print(io, JSON.stringify(report));
      return;
    }
    print(io, textTable(scoreTable(summaries)));
    for (const { name, reason } of refused) note(io, `${name} is refused: ${reason}`);
    const groups = groupTable(summaries);
    if (groups !== undefined) print(io, `\nExact match by task\n\n${textTable(groups)}`);
    const count = `${examples.length} ${examples.length === 1 ? 'question' : 'questions'}`;
    print(io, `\n${count} of ${path}; ${info.description}`);
  } catch (error) {
    bar.clear();
    if (io.signal.aborted && out !== undefined && !isJson) {
      note(io, `The answers so far are in ${out}.journal.jsonl; the same command with --resume continues.`);
    }
    throw error;
  } finally {
    journal?.close();
  }
}
