// When somebody has finished. The pause is long and can be set longer: there are pauses inside slow speech, too.

const ABOVE_NOISE_DB = 12; // louder than the room by this much is a voice
const QUIETEST_VOICE_DB = -55;
const FIRST_NOISE_DB = -45; // what the room is taken for at most while nothing is known: who speaks at once is heard
const NOISE_RISES_DB = 2; // a second: a fan that was switched on becomes the room's own noise
export const NOBODY_S = 10; // to begin to speak

export class Silence {
  #noise = FIRST_NOISE_DB;
  #quiet = 0;
  #spoken = 0;

  constructor(pause) {
    this.pause = pause;
  }

  // After each frame: "over" when a voice was followed by the pause, "nobody" when none has come, else "".
  hear(decibels, seconds) {
    const isVoice = decibels > Math.max(this.#noise + ABOVE_NOISE_DB, QUIETEST_VOICE_DB);
    this.#noise = Math.min(decibels, this.#noise + NOISE_RISES_DB * seconds);
    this.#spoken += isVoice ? seconds : 0;
    this.#quiet = isVoice ? 0 : this.#quiet + seconds;
    if (this.#spoken < 0.15) return this.#quiet > NOBODY_S ? "nobody" : ""; // a click is no voice
    return this.#quiet > this.pause ? "over" : "";
  }
}
