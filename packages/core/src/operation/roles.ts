/** The same roles with another value each; an optional role stays optional. */
export type Roles<Shape extends object, T> = { readonly [Role in keyof Shape]: T };

/** The roles that have a value, with their values. */
export function entriesOf<T>(values: object): [string, T][] {
  return Object.entries(values).filter(([, one]) => one !== undefined);
}

/** The values of an object of roles. */
export function valuesOf<T>(values: object): T[] {
  return entriesOf<T>(values).map(([, one]) => one);
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
  return fromRoles(entriesOf<A>(values).map(([role, one]) => [role, replace(one, role)]));
}

/** An object of roles from a list of them. */
export function fromRoles<Shape extends object, T>(
  entries: readonly (readonly [string, T])[],
): Roles<Shape, T> {
  return Object.fromEntries(entries) as Roles<Shape, T>;
}
