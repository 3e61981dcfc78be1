/** The same roles with another value each; an optional role stays optional. */
export type Roles<Shape extends object, T> = { readonly [Role in keyof Shape]: T };

/** The roles that have a value, with their values. */
export function entriesOf<T>(values: object): [string, T][] {
  const entries: [string, T][] = [];
  const given = values as Readonly<Record<string, T | undefined>>;
  // Plain loops here and below: calls of operations pass through several of these.
  for (const role in given) {
    const one = given[role];
    if (one !== undefined) entries.push([role, one]);
  }
  return entries;
}

/** The values of an object of roles. */
export function valuesOf<T>(values: object): T[] {
  const list: T[] = [];
  const given = values as Readonly<Record<string, T | undefined>>;
  for (const role in given) {
    const one = given[role];
    if (one !== undefined) list.push(one);
  }
  return list;
}

/**
 * Replaces each value under the same role; absent roles stay absent. This is how a backend turns core's tensors into
 * its own without spelling out the roles.
 *
 * @example
 * const shapes = mapRoles({ q, k, v }, (one: Tensor) => one.shape);
 */
export function mapRoles<Shape extends object, A, B>(
  values: Shape,
  replace: (one: A, role: string) => B,
): Roles<Shape, B> {
  const made: Record<string, B> = {};
  const given = values as Readonly<Record<string, A | undefined>>;
  for (const role in given) {
    const one = given[role];
    if (one !== undefined) made[role] = replace(one, role);
  }
  return made as Roles<Shape, B>;
}

/** An object of roles from a list of them. */
export function fromRoles<Shape extends object, T>(
  entries: readonly (readonly [string, T])[],
): Roles<Shape, T> {
  return Object.fromEntries(entries) as Roles<Shape, T>;
}
