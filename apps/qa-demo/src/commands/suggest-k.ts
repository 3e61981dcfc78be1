import { backendWarning, textTable } from '@topk-attention/app-kit';
import {
  type CommandUnknownOpts,
  InvalidArgumentError,
  type Io,
  nonBlank,
  note,
  Option,
  ProgressBar,
  positiveNumber,
  print,
} from '@topk-attention/app-kit/node';
import type { LayerError, OutputError, SuggestedK } from '@topk-attention/models';
import { readContexts } from '../datasets/contexts.js';
import { EngineChild } from '../engine/engine-child.js';
import type { EngineInfo, EngineSettings, Suggestion, SuggestRequest } from '../engine/protocol.js';
import { kept } from './kept-values.js';
import { engineSettings, modelCommand } from './model-command.js';

const DEFAULT_TOLERANCE = 0.01;
const MEASURES = ['kl', 'argmax', 'cosine'] as const;

const notes = `
Runs the model exactly and with top-k on your own text, and compares what it predicts. A k holds for texts as
long as this one. kl is the divergence in nats for each token of the answer, argmax the share of tokens that
change, cosine 1 - cosine of the logits.

Examples:
  pnpm qa suggest-k --question "Where is Mary?" --context story.txt
  pnpm qa suggest-k --question "Where is Mary?" --context story.txt --k 4,16,64`;

/** `suggest-k`: the smallest k that keeps a bound on the user's own text, or what each of some ks costs. */
export function suggestKCommand(io: Io): CommandUnknownOpts {
  return modelCommand('suggest-k')
    .summary('the smallest k that changes little on a text')
    .description('The smallest k that keeps a bound on a text, for the whole model and for each layer.')
    .usage('--question TEXT... [--context FILE]... [--tolerance T | --k N,N,...] [options]')
    .requiredOption('-q, --question <TEXT...>', 'a question about the text; several make several samples')
    .option(
      '-c, --context <FILE...>',
      'a text to answer from; several are joined; - is standard input (default: what is piped in)',
    )
    .option('--tolerance <T>', 'the largest error that is accepted', positiveNumber, DEFAULT_TOLERANCE)
    .addOption(
      new Option('--measure <NAME>', 'what the tolerance bounds').choices(MEASURES).default('kl' as const),
    )
    .addOption(
      new Option('--of <NAME>', 'whose k: keys of attention, or hidden units of feed-forward layers')
        .choices(['attention', 'feed-forward'] as const)
        .default('attention' as const),
    )
    .addOption(
      new Option('--k <N,N,...>', 'report what each of these costs in each layer, instead of searching')
        .argParser(numberList)
        .conflicts(['tolerance', 'measure']),
    )
    .addHelpText('after', notes)
    .action(async (options) => {
      const request: SuggestRequest = {
        questions: options.question.map(nonBlank),
        context: await readContexts(options.context ?? [], io),
        tolerance: options.tolerance,
        measure: options.measure,
        of: options.of === 'attention' ? 'attention' : 'feedForward',
        ...(options.k !== undefined && { ks: options.k }),
      };
      const { suggestion, info } = await suggestInChild(engineSettings(options), request, options.json, io);
      if (options.json) print(io, JSON.stringify({ ...suggestion, engine: info }));
      else show(suggestion, request, io);
    });
}

/** `8,16`: whole numbers. @throws InvalidArgumentError. */
function numberList(text: string): number[] {
  return text.split(',').map((each) => {
    const k = kept(each.trim());
    if (k === 'exact') throw new InvalidArgumentError('Expected whole numbers: exact has no error.');
    return k;
  });
}

async function suggestInChild(
  settings: EngineSettings,
  request: SuggestRequest,
  isSilent: boolean | undefined,
  io: Io,
): Promise<{ readonly suggestion: Suggestion; readonly info: EngineInfo }> {
  const progress = new ProgressBar(io.stderr, isSilent);
  let child: EngineChild | undefined;
  try {
    const onEvent = ({ done, total, stage }: { done: number; total: number; stage: string }): void =>
      progress.update(done, total, stage);
    child = await EngineChild.start(settings, io.signal, onEvent);
    progress.clear();
    const warning = backendWarning(child.info);
    if (warning !== undefined && !isSilent) note(io, warning);
    return { suggestion: await child.suggest(request, io.signal, onEvent), info: child.info };
  } finally {
    progress.clear();
    await child?.dispose();
  }
}

function show({ suggested, errors }: Suggestion, request: SuggestRequest, io: Io): void {
  if (suggested !== undefined) showSuggested(suggested, request, io);
  if (errors !== undefined) showErrors(errors, io);
}

function showSuggested(
  { k, error, layers, choicesError, most }: SuggestedK,
  { of, tolerance, measure }: SuggestRequest,
  io: Io,
): void {
  const things = of === 'attention' ? 'keys' : 'hidden units';
  print(io, `k ${k} of ${most} ${things} keeps ${measure} within ${tolerance}: ${shown(error[measure])}\n`);
  const rows = layers.map((layer) => [nameOf(layer), String(layer.k), ...measured(layer.error)]);
  print(io, layerTable(['k'], [...rows, ['all of these', '', ...measured(choicesError)]]));
}

function showErrors(errors: readonly LayerError[], io: Io): void {
  const rows = errors.map((one) => [
    nameOf(one),
    String(one.k),
    shown(one.residual),
    ...measured(one.output),
  ]);
  print(io, layerTable(['k', 'residual'], rows));
}

/** Layers, with numbers under these titles and the measures. */
function layerTable(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const numbers = [...titles, ...MEASURES].map((title) => ({ title, align: 'right' as const }));
  return textTable({ columns: [{ title: 'layer' }, ...numbers], rows });
}

function measured(error: OutputError): string[] {
  return MEASURES.map((measure) => shown(error[measure]));
}

function shown(error: number | undefined): string {
  return error === undefined ? '' : error === 0 ? '0' : error.toPrecision(2);
}

function nameOf({ path, part }: { readonly path: string; readonly part: string }): string {
  return `${path} ${part}`;
}
