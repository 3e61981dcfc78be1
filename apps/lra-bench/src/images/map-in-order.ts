const AT_ONCE = 16;

/** Each item with what `make` gives for it, in order, several being made at a time. */
export async function* mapInOrder<Item, Made>(
  items: readonly Item[],
  make: (item: Item) => Promise<Made>,
): AsyncGenerator<readonly [Item, Made]> {
  const waiting: { readonly item: Item; readonly made: Promise<Made> }[] = [];
  let next = 0;
  while (next < items.length || waiting.length > 0) {
    while (next < items.length && waiting.length < AT_ONCE) {
      const item = items[next++] as Item;
      const made = make(item);
      // A failure is thrown when its turn comes.
      made.catch(() => {});
      waiting.push({ item, made });
    }
    const { item, made } = waiting.shift() as (typeof waiting)[number];
    yield [item, await made];
  }
}
