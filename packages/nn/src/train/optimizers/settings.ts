import { aFunction, anArray, type OptionKind, readOptions, required } from '@topk-attention/core';
import type { ParameterGroup } from './optimizer.js';

/** Options of an optimiser: its settings, and parameter groups with their own settings. */
export type OptimizerOptions<Settings> = Partial<Settings> & {
  /** Parameters with their own settings; each belongs to the first group that matches its name. Default: none. */
  readonly groups?: readonly ParameterGroup<Settings>[];
};

type SettingKinds<Settings> = {
  readonly [Name in keyof Settings]-?: OptionKind<Exclude<Settings[Name], undefined>>;
};

/**
 * Checks the settings of an optimiser and of its groups.
 *
 * @throws TopKError INVALID_OPTION
 */
export function readSettings<Settings extends object>(
  where: string,
  options: OptimizerOptions<Settings> | undefined,
  kinds: SettingKinds<Settings>,
  defaults: (given: Partial<Settings>) => Settings,
  check: (settings: Settings) => void,
): { readonly settings: Settings; readonly groups: readonly ParameterGroup<Settings>[] } {
  readOptions<object>(where, options, { ...kinds, groups: anArray('an array of groups') });
  const settings = defaults(givenSettings(options ?? {}, kinds));
  check(settings);
  const groups = (options?.groups ?? []).map((group) => {
    readOptions<object>(`${where}: groups`, group, { ...kinds, match: required(aFunction()) });
    const own = givenSettings(group, kinds);
    check({ ...settings, ...own });
    return { ...own, match: group.match };
  });
  return { settings, groups };
}

/** The settings among options; undefined counts as not given. */
function givenSettings<Settings extends object>(
  options: Partial<Settings>,
  kinds: SettingKinds<Settings>,
): Partial<Settings> {
  const given: Partial<Settings> = {};
  for (const name in kinds) if (options[name] !== undefined) given[name] = options[name];
  return given;
}
