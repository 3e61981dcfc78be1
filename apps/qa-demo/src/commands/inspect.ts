import { backendWarning } from '@topk-attention/app-kit';
import {
  type BackendOptions,
  backendCommand,
  backendSettings,
  type CommandUnknownOpts,
  InvalidArgumentError,
  type Io,
  nonBlank,
  note,
  Option,
  ProgressBar,
  print,
  seedNumber,
  wholeNumber,
} from '@topk-attention/app-kit/node';
import { TopKError } from '@topk-attention/core';
import {
  formatValueName,
  type Intervention,
  parseValueName,
  type ValueName,
} from '@topk-attention/models/inspect';
import { inspectInChild } from '../engine/inspect-child.js';
import type { InspectRequest } from '../engine/inspect-protocol.js';
import type { Kept, Progress } from '../engine/protocol.js';
import { inspectionText } from '../output/inspection-text.js';
import { kept } from './kept-values.js';

const notes = `
For each layer: what the tokens before and after its feed-forward layer predict, with probabilities, and the hidden
units that add most, with the length of what they add. --off and --on overwrite the coefficients of units after the
activation; of those of one unit the last wins. Everything is shown without and with that. A T5 is shown where its
decoder is about to write the first token of the answer, or the one after --target.

Examples:
  pnpm qa inspect --prompt "where is mary? \\n mary moved to the bathroom." --feed-forward-k 64
  pnpm qa inspect --prompt "where is mary? \\n mary moved to the bathroom." --layer 1 --off L1D17 --on L0D2=4
  pnpm qa inspect --prompt "where is mary?" --search kitchen,garden --value L1D17`;

/** `inspect`: what each feed-forward layer does to a prediction. */
export function inspectCommand(io: Io): CommandUnknownOpts {
  const command = backendCommand('inspect');
  const placed = inOrder();
  return command
    .summary('what each feed-forward layer does to a prediction')
    .description('Predictions before and after each feed-forward layer, and the hidden units that make them.')
    .usage('--prompt TEXT [--layer L] [--off L3D17] [--on L5D2=4] [options]')
    .requiredOption('-p, --prompt <TEXT>', 'what the model reads, as it is', nonBlank)
    .option('--target <TEXT>', 'the answer so far, for the decoder of a T5 (default: none)', nonBlank)
    .addOption(
      new Option('--stack <NAME>', 'whose layers; encoder is for a T5')
        .choices(['encoder', 'decoder'] as const)
        .default('decoder' as const),
    )
    .option('--layer <L,L,...>', 'layers to show, from 0 (default: all)', placeList)
    .option('--position <N>', 'which token, from 0; negative ones from the end (default: the last)', place)
    .option('--off <NAME...>', 'units to switch off, such as L3D17: layer 3, unit 17', placed(switchedOff))
    .option('--on <NAME=X...>', 'units to set to a coefficient, such as L5D2=4', placed(setting))
    .option('--at <N,N,...>', 'positions for --off and --on (default: all)', placeList)
    .option('--search <WORD,WORD,...>', 'value vectors that promote these words', wordList)
    .option('--value <NAME...>', 'value vectors whose tokens to show', collected(parsed))
    .option(
      '--clusters <N>',
      'groups of like value vectors; with --value, those of the named ones',
      wholeNumber,
    )
    .option('--seed <N>', 'with --clusters: same seed, same groups (default: 0)', seedNumber)
    .option('--top <N>', 'tokens, units and hits to show', wholeNumber, 5)
    .option('--attention-k <N|exact>', 'keys that each query keeps', kept, 'exact' as Kept)
    .option('--feed-forward-k <N|exact>', 'hidden units that each token keeps', kept, 'exact' as Kept)
    .optionsGroup('Model:')
    .option(
      '--model <embedded|DIR|NAME>',
      'the included model, a Hugging Face folder of a T5 or a decoder-only model, or its name on the Hub',
      'embedded',
    )
    .option('--offline', 'take a model of the Hub from the cache, without a request')
    .addHelpText('after', notes)
    .action(async (options) => {
      const { off = [], on = [], at } = options;
      if (at !== undefined && off.length + on.length === 0) command.error('--at needs --off or --on');
      if (options.seed !== undefined && options.clusters === undefined)
        command.error('--seed needs --clusters');
      const interventions = lastOfEach([...off, ...on]);
      const request: InspectRequest = {
        prompt: options.prompt,
        ...(options.target !== undefined && { target: options.target }),
        stack: options.stack,
        ...(options.layer !== undefined && { layers: options.layer }),
        ...(options.position !== undefined && { position: options.position }),
        interventions: interventions.map((one) => ({ ...one, ...(at !== undefined && { positions: at }) })),
        search: options.search ?? [],
        values: options.value ?? [],
        ...(options.clusters !== undefined && {
          clusters: { count: options.clusters, seed: options.seed ?? 0 },
        }),
        top: options.top,
        attentionK: options.attentionK,
        feedForwardK: options.feedForwardK,
      };
      await inspectAndShow(options, request, io);
    });
}

async function inspectAndShow(
  options: BackendOptions & { readonly model: string; readonly offline?: true },
  request: InspectRequest,
  io: Io,
): Promise<void> {
  const settings = {
    model: options.model,
    ...(options.offline && { isOffline: true }),
    ...backendSettings(options),
  };
  const progress = new ProgressBar(io.stderr, options.json);
  const show = ({ done, total, stage }: Progress): void => progress.update(done, total, stage);
  const { inspected, info } = await inspectInChild({ settings, request }, io.signal, show).finally(() =>
    progress.clear(),
  );
  const warning = backendWarning(info);
  if (options.json) {
    const warnings = warning === undefined ? [] : [warning];
    print(io, JSON.stringify({ prompt: request.prompt, ...inspected, engine: info, warnings }));
    return;
  }
  if (warning !== undefined) note(io, warning);
  print(io, inspectionText(inspected, request.interventions));
}

/** An option that may be given several values: those of all its occurrences. */
function collected<T>(parse: (text: string) => T): (text: string, before: T[] | undefined) => T[] {
  return (text, before) => [...(before ?? []), parse(text)];
}

/** A value of one of several options, with its place among those of all of them. */
interface Placed {
  readonly intervention: Intervention;
  readonly place: number;
}

/** Options that may be given several values, and whose common order counts. */
function inOrder(): (
  parse: (text: string) => Intervention,
) => (text: string, before: Placed[] | undefined) => Placed[] {
  let count = 0;
  return (parse) => collected((text) => ({ intervention: parse(text), place: count++ }));
}

/** In the order of the command line, each unit once: later ones win. */
function lastOfEach(given: readonly Placed[]): readonly Intervention[] {
  const last = new Map<string, Intervention>();
  for (const { intervention } of [...given].sort((a, b) => a.place - b.place)) {
    const name = formatValueName(intervention);
    last.delete(name);
    last.set(name, intervention);
  }
  return [...last.values()];
}

/** `L3D17`. @throws InvalidArgumentError. */
function parsed(text: string): ValueName {
  try {
    return parseValueName(text);
  } catch (error) {
    if (!(error instanceof TopKError)) throw error;
    throw new InvalidArgumentError('Expected L, a layer, D and a hidden unit, such as L3D17.');
  }
}

/** `L3D17`. @throws InvalidArgumentError. */
function switchedOff(text: string): Intervention {
  return { ...parsed(text), coefficient: 0 };
}

/** `L5D2=4`. @throws InvalidArgumentError. */
function setting(text: string): Intervention {
  const [, name, number = ''] = /^([^=]*)=(.*)$/.exec(text) ?? [];
  const coefficient = Number(number);
  if (name === undefined || number.trim() === '' || !Number.isFinite(coefficient))
    throw new InvalidArgumentError('Expected a unit, = and a number, such as L5D2=4.');
  return { ...parsed(name), coefficient };
}

/** A whole number, negative ones included. @throws InvalidArgumentError. */
function place(text: string): number {
  if (/^-?\d{1,9}$/.test(text.trim())) return Number(text);
  throw new InvalidArgumentError('Expected a whole number.');
}

/** `0,-1`, each once. @throws InvalidArgumentError. */
function placeList(text: string): number[] {
  return [...new Set(text.split(',').map(place))];
}

/** `kitchen,garden`. @throws InvalidArgumentError. */
function wordList(text: string): string[] {
  return text.split(',').map(nonBlank);
}
