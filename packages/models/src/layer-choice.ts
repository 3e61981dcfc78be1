import {
  aValue,
  checkedLater,
  type FeedForwardSelect,
  type OptionKinds,
  oneOf,
  optionsWithin,
  readOptions,
  TopKError,
} from '@topk-attention/core';

/** All keys, or the k best of each query and head. */
export type AttentionChoice = 'exact' | { readonly k: number };

/** All hidden units, or the k best of each token; `select` says what ranks them (default 'preactivation', as in the paper). */
export type FeedForwardChoice = 'exact' | { readonly k: number; readonly select?: FeedForwardSelect };

/** What one layer, or all of them, runs. Whatever is left out is decided elsewhere. */
export interface LayerChoice {
  /** Self-attention, and cross-attention unless that has its own choice. */
  readonly attention?: AttentionChoice;
  /** The decoder's attention over the source. Default: `attention` of the same level. */
  readonly crossAttention?: AttentionChoice;
  readonly feedForward?: FeedForwardChoice;
}

/** Name of a layer: stack and number from 0. */
export type LayerName = `encoder.${number}` | `decoder.${number}`;

/**
 * Exact or top-k, layer by layer. The nearest choice wins: `layers`, then the layer's stack, then the top level; and a
 * choice of the call wins over every choice of the load. Default: exact everywhere.
 *
 * @example
 * const choices: LayerChoices = {
 *   attention: { k: 64 },
 *   feedForward: { k: 256 },
 *   decoder: { attention: 'exact' },
 *   layers: { 'encoder.0': { feedForward: 'exact' } },
 * };
 */
export interface LayerChoices extends LayerChoice {
  readonly encoder?: LayerChoice;
  readonly decoder?: LayerChoice;
  readonly layers?: { readonly [name in LayerName]?: LayerChoice };
}

const attentionKinds: OptionKinds<Exclude<AttentionChoice, 'exact'>> = { k: checkedLater() };
const feedForwardKinds: OptionKinds<Exclude<FeedForwardChoice, 'exact'>> = {
  k: checkedLater(),
  select: oneOf('preactivation', 'contribution'),
};

/** What they hold is looked at by `checkChoice`. */
const choice = { what: "'exact' or { k }", is: () => true };
const layerKinds: OptionKinds<LayerChoice> = {
  attention: choice,
  crossAttention: choice,
  feedForward: choice,
};

/** The options that choose, for functions that take others too. */
export const choiceKinds: OptionKinds<LayerChoices> = {
  ...layerKinds,
  encoder: optionsWithin(layerKinds),
  decoder: optionsWithin(layerKinds),
  layers: aValue('an object of layers', (value) => typeof value === 'object' && value !== null),
};

/** The choices of one layer with nothing left open. */
export interface ResolvedLayer {
  readonly attention: AttentionChoice;
  readonly crossAttention: AttentionChoice;
  readonly feedForward: FeedForwardChoice;
}

/** How many layers a model has, so that a choice for one that is not there is an error. */
export interface StackDepths {
  readonly encoder: number;
  readonly decoder: number;
}

/** Throws on a bad k or the name of a layer that the model does not have. */
export function checkChoices(where: string, choices: LayerChoices, depths: StackDepths): void {
  for (const [name, layer] of Object.entries(choices.layers ?? {})) {
    const [, stack, index] = /^(encoder|decoder)\.(\d+)$/.exec(name) ?? [];
    const depth = stack === 'encoder' ? depths.encoder : depths.decoder;
    if (stack === undefined || Number(index) >= depth) {
      throw new TopKError('INVALID_OPTION', `${where}: no layer of that name`, {
        expected: `encoder.0 to encoder.${depths.encoder - 1} or decoder.0 to decoder.${depths.decoder - 1}`,
        got: name,
      });
    }
    if (layer !== undefined) checkChoice(where, readOptions(`${where}: ${name}`, layer, layerKinds));
  }
  for (const level of [choices, choices.encoder, choices.decoder]) {
    if (level !== undefined) checkChoice(where, level);
  }
}

function checkChoice(where: string, { attention, crossAttention, feedForward }: LayerChoice): void {
  for (const [name, choice] of Object.entries({ attention, crossAttention, feedForward })) {
    if (choice === undefined || choice === 'exact') continue;
    if (typeof choice === 'object' && choice !== null && Number.isInteger(choice.k) && choice.k > 0) {
      readOptions(`${where}: ${name}`, choice, name === 'feedForward' ? feedForwardKinds : attentionKinds);
      continue;
    }
    throw new TopKError('INVALID_K', `${where}: bad choice for ${name}`, {
      expected: "'exact' or { k } with a positive whole number k",
      got: JSON.stringify(choice),
    });
  }
}

/** The choices of one layer; earlier entries of `levels` win. */
export function resolveLayer(
  stack: keyof StackDepths,
  index: number,
  levels: readonly LayerChoices[],
): ResolvedLayer {
  const ordered = levels.flatMap((level) =>
    [level.layers?.[`${stack}.${index}`], level[stack], level].filter((one) => one !== undefined),
  );
  const first = <R>(pick: (level: LayerChoice) => R | undefined): R | undefined =>
    ordered.map(pick).find((choice) => choice !== undefined);
  return {
    attention: first((level) => level.attention) ?? 'exact',
    crossAttention: first((level) => level.crossAttention ?? level.attention) ?? 'exact',
    feedForward: first((level) => level.feedForward) ?? 'exact',
  };
}
