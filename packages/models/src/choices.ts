import {
  aValue,
  checkedLater,
  describeValue,
  type OptionKinds,
  oneOf,
  optionsWithin,
  readOptions,
  TopKError,
} from '@topk-attention/core';
import type { AttentionChoice, AttentionFunction, FeedForwardChoice } from '@topk-attention/nn';

/** What one layer, or every layer of a level, runs. The next level decides whatever is left out. */
export interface LayerChoice {
  /**
   * Self-attention, and cross-attention unless that has its own choice. A function is called like core's
   * `exactAttention`, with the queries, keys and values of all heads and the options of the call.
   */
  readonly attention?: AttentionChoice;
  /** The decoder's attention over the source. Default: `attention` of the same level. */
  readonly crossAttention?: AttentionChoice;
  readonly feedForward?: FeedForwardChoice;
}

/** Paths of layers: stack and number from 0. `*` stands for every stack, or every layer of a stack. */
export type LayerPattern = `${'encoder' | 'decoder' | '*'}.${number | '*'}`;

/**
 * Exact or top-k, layer by layer. The nearest choice wins: `layers`, then the layer's stack, then the top level;
 * choices of a call override all choices of the load. If several patterns of `layers` match a layer, the one with the
 * fewest `*` wins, then the later one. Default: exact everywhere.
 *
 * @example
 * const choices: LayerChoices = {
 *   attention: { k: 64 },
 *   feedForward: { k: 256 },
 *   decoder: { attention: 'exact' },
 *   layers: { '*.0': { feedForward: 'exact' } },
 * };
 */
export interface LayerChoices extends LayerChoice {
  readonly encoder?: LayerChoice;
  readonly decoder?: LayerChoice;
  /** By path, or by a pattern of paths: 'encoder.0', 'encoder.*', '*.0'. */
  readonly layers?: { readonly [pattern in LayerPattern]?: LayerChoice };
}

const attentionKinds: OptionKinds<Exclude<AttentionChoice, 'exact' | AttentionFunction>> = {
  k: checkedLater(),
};
const feedForwardKinds: OptionKinds<Exclude<FeedForwardChoice, 'exact'>> = {
  k: checkedLater(),
  select: oneOf('preactivation', 'contribution'),
};

/** `checkChoice` validates the contents. */
const choice = { what: "'exact' or { k }", is: () => true };
const layerKinds: OptionKinds<LayerChoice> = {
  attention: choice,
  crossAttention: choice,
  feedForward: choice,
};

/** What one layer of a model of one stack runs: there is no cross-attention. */
export type StackLayerChoice = Omit<LayerChoice, 'crossAttention'>;

/** Exact or top-k, layer by layer, for a model of one stack. As `LayerChoices`. */
export interface StackChoices extends StackLayerChoice {
  /** By path, or by a pattern of paths: 'encoder.0', 'encoder.*', '*.0'. */
  readonly layers?: { readonly [pattern in LayerPattern]?: StackLayerChoice };
}

const stackLayerKinds: OptionKinds<StackLayerChoice> = { attention: choice, feedForward: choice };

/** The options that make choices of a model of one stack. */
export const stackChoiceKinds: OptionKinds<StackChoices> = {
  ...stackLayerKinds,
  layers: aValue('an object of layers', (value) => typeof value === 'object' && value !== null),
};

/** The options that make choices, for functions that also take others. */
export const choiceKinds: OptionKinds<LayerChoices> = {
  ...layerKinds,
  encoder: optionsWithin(layerKinds),
  decoder: optionsWithin(layerKinds),
  layers: aValue('an object of layers', (value) => typeof value === 'object' && value !== null),
};

/** The choices among the options of a call. */
export function choicesAmong(options: LayerChoices): LayerChoices {
  const given = Object.entries(options).filter(
    ([name, value]) => Object.hasOwn(choiceKinds, name) && value !== undefined,
  );
  return Object.fromEntries(given);
}

/** The choices of one layer, fully resolved. */
export type ResolvedChoice = Required<LayerChoice>;

/** @throws TopKError INVALID_K; INVALID_OPTION for a pattern that matches none of the model's layers. */
export function checkChoices(where: string, choices: LayerChoices, paths: readonly string[]): void {
  check(where, choices, paths, layerKinds);
}

/** The same for a model of one stack. */
export function checkStackChoices(where: string, choices: StackChoices, paths: readonly string[]): void {
  check(where, choices, paths, stackLayerKinds);
}

function check<Layer extends LayerChoice>(
  where: string,
  choices: LayerChoices,
  paths: readonly string[],
  kinds: OptionKinds<Layer>,
): void {
  for (const [pattern, layer] of Object.entries(choices.layers ?? {})) {
    if (!paths.some((path) => matches(pattern, path))) {
      throw new TopKError('INVALID_OPTION', `${where}: no layer of that name`, {
        expected: `${paths.join(', ')}, or a pattern such as ${paths[0]?.split('.')[0]}.*`,
        got: pattern,
      });
    }
    if (layer !== undefined) checkChoice(where, readOptions(`${where}: ${pattern}`, layer as Layer, kinds));
  }
  for (const level of [choices, choices.encoder, choices.decoder]) {
    if (level !== undefined) checkChoice(where, level);
  }
}

function checkChoice(where: string, { attention, crossAttention, feedForward }: LayerChoice): void {
  for (const [name, choice] of Object.entries({ attention, crossAttention, feedForward })) {
    if (choice === undefined || choice === 'exact') continue;
    const mayBeFunction = name !== 'feedForward';
    if (mayBeFunction && typeof choice === 'function') continue;
    if (typeof choice === 'object' && choice !== null && Number.isInteger(choice.k) && choice.k > 0) {
      readOptions(`${where}: ${name}`, choice, mayBeFunction ? attentionKinds : feedForwardKinds);
      continue;
    }
    throw new TopKError('INVALID_K', `${where}: bad choice for ${name}`, {
      expected: `'exact', or { k } with a positive whole number k${mayBeFunction ? ', or a function' : ''}`,
      got: typeof choice === 'object' ? JSON.stringify(choice) : describeValue(choice),
      fix: "Use 'exact' to keep all",
    });
  }
}

/** The choices of the layer at a path; earlier entries of `levels` win. */
export function resolveChoice(path: string, levels: readonly LayerChoices[]): ResolvedChoice {
  const ordered = levels.flatMap((level) => choicesFor(path, level));
  const first = <R>(pick: (level: LayerChoice) => R | undefined): R | undefined =>
    ordered.map(pick).find((choice) => choice !== undefined);
  return {
    attention: first((level) => level.attention) ?? 'exact',
    crossAttention: first((level) => level.crossAttention ?? level.attention) ?? 'exact',
    feedForward: first((level) => level.feedForward) ?? 'exact',
  };
}

/** Everything that one set of choices says about a layer, the nearest first. */
function choicesFor(path: string, choices: LayerChoices): LayerChoice[] {
  const { encoder, decoder, layers = {} } = choices;
  const patterns = Object.entries(layers)
    .filter(([pattern]) => matches(pattern, path))
    .reverse()
    .sort(([a], [b]) => wildcards(a) - wildcards(b))
    .map(([, choice]) => choice);
  const stack = matches('encoder.*', path) ? encoder : matches('decoder.*', path) ? decoder : undefined;
  return [...patterns, stack, choices].filter((one) => one !== undefined);
}

/** Whether a path matches a pattern, segment by segment. */
function matches(pattern: string, path: string): boolean {
  const [wanted, own] = [pattern.split('.'), path.split('.')];
  return wanted.length === own.length && wanted.every((part, at) => part === '*' || part === own[at]);
}

function wildcards(pattern: string): number {
  return pattern.split('.').filter((part) => part === '*').length;
}
