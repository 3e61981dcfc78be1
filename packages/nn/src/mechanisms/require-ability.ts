import { TopKError } from '@topk-attention/core';
import type { Mechanism, MechanismAbility, MechanismOptions } from './mechanism.js';

/** Abilities that are no inputs. */
const inWords: { readonly [ability in MechanismAbility]?: string } = {
  causal: 'cannot be causal',
  groupedHeads: 'takes no grouped heads',
  decoding: 'cannot decode token by token',
};

/** @throws TopKError UNSUPPORTED if the mechanism lacks the ability. */
export function requireAbility(
  where: string,
  { name, takes, refusals }: Mechanism,
  ability: MechanismAbility,
): void {
  if (takes.includes(ability)) return;
  const reason = refusals?.[ability];
  throw new TopKError(
    'UNSUPPORTED',
    `${where}: ${name} attention ${inWords[ability] ?? `takes no ${ability}`}`,
    {
      expected: takes.length === 0 ? 'queries, keys and values only' : takes.join(', '),
      got: ability,
      fix: `${reason === undefined ? '' : `${reason}. `}Use exact() or topK({ k }), which take everything, or leave it out`,
    },
  );
}

/** The same for every option that is given. */
export function requireAbilities(where: string, mechanism: Mechanism, options: MechanismOptions): void {
  const { causal, keyLengths, mask, bias, relativeBias, dropout } = options;
  const asked: { readonly [ability in MechanismAbility]?: unknown } = {
    ...(causal === true && { causal }),
    ...{ keyLengths, mask, bias, relativeBias, dropout },
  };
  for (const [ability, given] of Object.entries(asked)) {
    if (given !== undefined) requireAbility(where, mechanism, ability as MechanismAbility);
  }
}

/** @throws TopKError UNSUPPORTED if the mechanism attends to its own input only. */
export function requireSource(where: string, { name, self, refusals }: Mechanism): void {
  if (self === undefined) return;
  throw new TopKError('UNSUPPORTED', `${where}: ${name} attention takes no source`, {
    expected: 'self-attention',
    got: 'keys and values of a source',
    ...(refusals?.source !== undefined && { fix: refusals.source }),
  });
}
