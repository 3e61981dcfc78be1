/** Ticks of one wait that follow each other at once: most reads are done by then. */
const EAGER_TICKS = 20;

/**
 * A `setImmediate` under which Dawn waits without spinning. While a promise of WebGPU is pending, the npm package
 * `webgpu` polls its device through `setImmediate`, as often as Node can: that keeps a core busy which SwiftShader needs
 * to compile the very kernel that is awaited. Here a wait is polled a few times at once, then every millisecond. Calls
 * from JavaScript pass through; a native function is told by its text, which Dawn's share with bound ones.
 *
 * @param {typeof setImmediate} immediately
 * @returns {typeof setImmediate}
 */
export function calmTicks(immediately) {
  let ticks = 0;
  let isInTick = false;
  /** @type {(callback: (...args: unknown[]) => void, ...args: unknown[]) => unknown} */
  const calm = (callback, ...args) => {
    if (!isNative(callback)) return immediately(callback, ...args);
    // Queued by the tick before it, a tick goes on with a wait; otherwise it begins one.
    ticks = isInTick ? ticks + 1 : 0;
    const tick = () => {
      isInTick = true;
      try {
        callback(...args);
      } finally {
        isInTick = false;
      }
    };
    return ticks < EAGER_TICKS ? immediately(tick) : setTimeout(tick, 1);
  };
  return /** @type {typeof setImmediate} */ (Object.assign(calm, immediately));
}

/**
 * Whether a function is native code, as the ticks of Dawn are.
 *
 * @param {Function} callback
 */
function isNative(callback) {
  return Function.prototype.toString.call(callback).includes('[native code]');
}
