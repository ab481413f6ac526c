#!/usr/bin/env python3
"""Make the embedded speech corpus `speech-mini`.

The corpus is synthetic English speech in the layout of LibriSpeech, with phone
labels that are exact because the synthesizer itself reports them:

    <speaker>/<chapter>/<speaker>-<chapter>-<utterance>.flac   16 kHz mono 16 bit
    phone_labels.txt   utterance id id id ...   100 a second, (n - 400)/160 + 1
    phones.txt         <id> <NAME>              0 = SIL
    train_split.txt, test_split.txt             one utterance a line
    transcripts.txt    utterance SENTENCE
    speakers.txt       speaker voice pitch range rate
    SHA256SUMS         over all other files

Needed: the shared library of espeak-ng (libespeak-ng.so.1, called by ctypes),
the command line tool `flac`, and nothing outside Python's standard library.

    make_speech_mini.py                 write speech-mini beside this script
    make_speech_mini.py --out DIR       write it elsewhere
    make_speech_mini.py --check         make it again in a temporary folder and
                                        compare it with SHA256SUMS and README.md

The output is a function of this file and of the versions of espeak-ng and flac:
each utterance is synthesized in a process of its own, so that no state of the
synthesizer passes from one to the next, and all random choices come from
generators seeded with the name of the utterance.
"""

import argparse
import array
import ctypes
import hashlib
import math
import multiprocessing
import operator
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

# --------------------------------------------------------------------------
# What is said, and by whom
# --------------------------------------------------------------------------

SENTENCES = [
    "The boy put a copper coin on the old wooden table.",
    "She usually measures the flour with a broken teacup.",
    "Nine young foxes were hiding under the garden shed.",
    "Please turn the volume down, the baby is asleep.",
    "A thick fog covered the valley until eleven.",
    "We should book two rooms before the weekend.",
    "His father owns a small garage near the harbour.",
    "Cheap shoes rarely keep your feet dry.",
    "The judge asked the witness to speak louder.",
    "Their voyage along the coast took three weeks.",
    "Could you pass me the yellow cushion?",
    "I thought the weather would be warmer in June.",
    "A loud noise woke the whole village at dawn.",
    "Put the butter and the jam back in the fridge.",
    "The captain watched the ships leave the bay.",
    "Her vision improved, but she still wears glasses.",
    "Many birds fly south when the leaves begin to fall.",
    "The teacher wrote a long word on the board.",
    "Fresh oysters are cheaper at the northern market.",
    "We had chicken soup, bread and a bowl of cherries.",
    "Thank you for choosing such a beautiful jacket.",
    "The engine coughed twice and then it stopped.",
    "Every Thursday they go swimming after school.",
    "He pushed the heavy box across the kitchen floor.",
    "The moon was bright enough to read by.",
    "Good cooks always taste the sauce before serving.",
    "An orange cat jumped over the muddy ditch.",
    "My cousin plays the violin, and I sing badly.",
    "Do not leave your luggage on the platform.",
    "The nurse gave the boy a spoonful of syrup.",
    "Our house has a brown roof and a round window.",
    "That huge machine can dig a trench in an hour.",
    "It was a pleasure to join you on the beach.",
    "Which of these paths leads to the waterfall?",
    "The shepherd counted forty sheep and one goat.",
    "A sudden gust of wind blew his hat away.",
    "They enjoyed the music, though it was rather loud.",
    "The youngest girl found a purple feather.",
    "Both brothers work in a large zoo by the sea.",
    "Rain is likely later, so bring an umbrella.",
    "Sugar dissolves much faster in hot water.",
    "The thief escaped through the bathroom window.",
    "Who forgot to lock the back door last night?",
    "An ancient oak stood beside the church.",
    "He avoids crowded trains in the morning rush.",
    "You would look good in a beige cotton shirt.",
    "The river froze, and the children skated on it.",
    "Wash the mushrooms, then slice them very thin.",
    "She wore a silver ring on her left thumb.",
    "The pilot announced a short delay in Chicago.",
    "Few people know how this strange clock works.",
    "A poor fisherman caught an enormous shark.",
    "Dry your hands with the towel on the hook.",
    "The new bridge was finally opened to cars.",
    "I would rather walk home than catch the bus.",
    "Julia chose a quiet corner of the library.",
    "Smoke was pouring out of the old chimney.",
    "The dog buried both bones near the hedge.",
    "Five brave soldiers guarded the king's treasure.",
    "Take the second road on the right, past the mill.",
    "Vivid colors make a room feel more cheerful.",
    "The doctor's advice was to rest and avoid salt.",
    "Oil and vinegar do not mix without a good shake.",
    "Last autumn we picked apples until our arms hurt.",
]

# speaker, espeak-ng voice+variant, pitch (0-99), pitch range (0-99), words a
# minute. None of these variants has an echo: pauses and the closures of the
# voiceless stops are then exact zeros, which the labels make use of.
VOICES = [
    (103, "en-us", 45, 50, 185),
    (127, "en-us+f1", 60, 60, 190),
    (149, "en+m3", 30, 40, 180),
    (181, "en-gb-x-rp+m7", 70, 35, 200),
    (211, "en-029+m8", 20, 60, 185),
    (229, "en-gb-x-gbclan+Andy", 80, 50, 195),
    (241, "en-gb-x-gbcwmd+steph", 45, 80, 200),
    (281, "en-us+Annie", 50, 30, 195),
    (307, "en+belinda", 40, 65, 185),
    (331, "en-gb-x-rp+Andrea", 25, 45, 190),
    (349, "en-us+iven3", 35, 75, 200),
    (373, "en+gustave", 55, 25, 210),
    (389, "en-029+anika", 60, 50, 195),
    (409, "en-gb-scotland+aunty", 45, 55, 205),
    (433, "en-us-nyc+paul", 15, 55, 190),
    (457, "en-us+shelby", 65, 60, 190),
]

UTTERANCES_PER_SPEAKER = 20
TEST_PER_SPEAKER = 4

# --------------------------------------------------------------------------
# Phones
# --------------------------------------------------------------------------

# The mnemonics of espeak-ng's phones -> the classes of the corpus: ARPAbet, with
# AX for the reduced vowels. Vowels that contain an r (or, in the accents that
# drop it, a schwa in its place) go with the vowel they begin with; a mnemonic
# that is not listed stops the script.
PHONE_MAP = {
    # pauses
    "_": "SIL", "_:": "SIL",
    # vowels
    "A:": "AA", "A@": "AA", "0": "AA",
    "a": "AE", "aa": "AE",
    "V": "AH",
    "O:": "AO", "O2": "AO", "O@": "AO", "o@": "AO",
    "aU": "AW",
    "@": "AX", "@2": "AX", "@5": "AX", "a#": "AX", "3": "AX",
    "aI": "AY", "aI2": "AY", "aI@": "AY",
    "E": "EH", "e@": "EH",
    "3:": "ER", "IR": "ER", "VR": "ER",
    "eI": "EY",
    "I": "IH", "I2": "IH", "I#": "IH",
    "i": "IY", "i:": "IY", "i@3": "IY",
    "oU": "OW",
    "OI": "OY",
    "U": "UH", "U@": "UH",
    "u:": "UW",
    # consonants; "t#" is the flap, "t[" the dental, "?" the glottal form of t
    "b": "B", "tS": "CH", "d": "D", "D": "DH", "f": "F", "g": "G", "h": "HH",
    "dZ": "JH", "k": "K", "l": "L", "@L": "L", "m": "M", "n": "N", "n-": "N",
    "N": "NG", "p": "P", "r": "R", "r-": "R", "s": "S", "S": "SH",
    "t": "T", "t#": "T", "t[": "T", "?": "T", "T": "TH",
    "v": "V", "w": "W", "w#": "W", "j": "Y", "z": "Z", "Z": "ZH",
}

# Where an accent says a mnemonic with the vowel of another class.
ACCENT_MAP = {
    "en-us": {"3": "ER"},
    "en-gb-scotland": {"3": "ER"},
    "en-gb-x-rp": {"aa": "AA", "i": "IH", "U@": "AO"},
    "en-gb-x-gbclan": {"V": "UH"},
    "en-gb-x-gbcwmd": {"V": "UH", "e@": "ER"},
}

# Glides that link two vowels, reported as a phone of their own: part of the
# phone before them.
CONTINUATIONS = {";"}

# Phones with a silent closure, which the synthesizer reports only after it.
STOPS = {"P", "B", "T", "D", "K", "G", "CH", "JH"}

PHONES = ["SIL"] + sorted(set(PHONE_MAP.values()) - {"SIL"})

# --------------------------------------------------------------------------
# Audio
# --------------------------------------------------------------------------

SYNTH_RATE = 22050
RATE = 16000
UP, DOWN = 320, 441  # RATE / SYNTH_RATE

WINDOW, HOP = 400, 160  # of the labels, in samples at RATE
MIN_SECONDS = 1.4

NOMINAL_DBFS = -37.0  # RMS of an utterance before its gain
GAIN_DB = 6.0  # the gain lies in [-GAIN_DB, GAIN_DB]
TILT_POLE = (0.65, 0.80)  # of the one-pole low-pass that the speech goes through
SNR_DB = (30.0, 35.0)  # RMS of the speech over that of the noise
NOISE_POLE = (0.95, 0.985)  # of the one-pole low-pass that colors the noise
EDGE_SECONDS = (0.05, 0.14)  # silence at either end

# A gap shorter than this between two phones is no pause.
MIN_PAUSE = 0.020
# The shortest run of exact zeros that counts as silence.
MIN_ZEROS = 0.004

FLAC_OPTIONS = [
    "-8", "--silent", "--force", "--no-padding", "--no-seektable",
    "--force-raw-format", "--endian=little", "--sign=signed",
    "--channels=1", "--bps=16", f"--sample-rate={RATE}",
]


def rng_for(*names):
    """A generator seeded by names. Only random() and randbytes() are used:
    Python keeps the sequence of those the same from version to version."""
    digest = hashlib.sha256("/".join(names).encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


def shuffled(items, rng):
    """Fisher-Yates on top of random() alone."""
    items = list(items)
    for i in range(len(items) - 1, 0, -1):
        j = int(rng.random() * (i + 1))
        items[i], items[j] = items[j], items[i]
    return items


def bessel_i0(x):
    term = total = 1.0
    k = 1
    while term > 1e-12 * total:
        term *= (x / (2 * k)) ** 2
        total += term
        k += 1
    return total


def resampler_taps(half_width=22, cutoff=0.94, beta=8.0):
    """The UP phases of a Kaiser-windowed sinc from SYNTH_RATE to RATE.

    `cutoff` is a fraction of the Nyquist frequency of RATE. The taps are whole
    numbers (held as floats) so that the convolution with 16-bit samples is
    exact: the result does not depend on the order of the additions.
    """
    scale = 2.0**20
    bandwidth = cutoff * UP / DOWN  # as a fraction of the input's Nyquist
    phases = []
    for phase in range(UP):
        # Output sample m lies at input position m * DOWN / UP; its phase
        # is the numerator of the fractional part.
        fraction = phase / UP
        taps = []
        for k in range(-half_width + 1, half_width + 1):
            t = k - fraction
            angle = math.pi * t * bandwidth
            sinc = math.sin(angle) / angle if abs(angle) > 1e-12 else 1.0
            edge = t / half_width
            window = bessel_i0(beta * math.sqrt(max(0.0, 1.0 - edge * edge)))
            taps.append(sinc * window)
        norm = sum(taps)
        phases.append([float(round(scale * tap / norm)) for tap in taps])
    return phases, half_width, scale


def resample(samples):
    """SYNTH_RATE -> RATE; output sample m is at input position m * DOWN / UP."""
    phases, half, scale = resampler_taps()
    padded = [0.0] * (half - 1) + [float(s) for s in samples] + [0.0] * (half + 1)
    count = len(samples) * UP // DOWN
    out = []
    for m in range(count):
        position, phase = divmod(m * DOWN, UP)
        piece = padded[position : position + 2 * half]
        out.append(sum(map(operator.mul, phases[phase], piece)) / scale)
    return out


def colored_noise(count, rng, pole):
    """Low-passed noise of unit RMS; the white noise is a sum of four uniforms."""
    words = array.array("H")
    words.frombytes(rng.randbytes(8 * count))
    if sys.byteorder == "big":
        words.byteswap()
    white = [sum(four) - 131070 for four in zip(*[iter(words)] * 4)]
    # A uniform 16-bit number has the variance (2^32 - 1) / 12.
    scale = math.sqrt(1.0 - pole * pole) / math.sqrt(4.0 * (2.0**32 - 1.0) / 12.0)
    state = 0.0
    out = []
    for w in white:
        state = pole * state + scale * w
        out.append(state)
    return out


# --------------------------------------------------------------------------
# The synthesizer
# --------------------------------------------------------------------------


class EventId(ctypes.Union):
    _fields_ = [
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    ]


class Event(ctypes.Structure):
    """espeak_EVENT of <espeak-ng/speak_lib.h>."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", EventId),
    ]


AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_PHONEME_EVENTS = 1
CHARS_UTF8 = 1
POS_CHARACTER = 1
EVENT_LIST_TERMINATED = 0
EVENT_PHONEME = 7
PARAMETER_RATE, PARAMETER_PITCH, PARAMETER_RANGE = 1, 3, 4

CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_short),
    ctypes.c_int,
    ctypes.POINTER(Event),
)


def load_espeak():
    library = ctypes.CDLL("libespeak-ng.so.1")
    library.espeak_Info.restype = ctypes.c_char_p
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int,
        ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p,
    ]
    return library


def synthesize(voice, pitch, pitch_range, rate, sentence):
    """Samples at SYNTH_RATE, and the phones as (first sample, mnemonic).

    To be called once in a process: the synthesizer keeps some state (phase of
    the voice, noise) from one utterance to the next.
    """
    library = load_espeak()
    samples = array.array("h")
    phones = []

    def receive(wav, count, events):
        i = 0
        while events[i].type != EVENT_LIST_TERMINATED:
            if events[i].type == EVENT_PHONEME:
                # Up to 8 bytes, without a final zero if all 8 are used.
                raw = ctypes.string_at(ctypes.addressof(events[i].id), 8)
                mnemonic = raw.split(b"\0")[0].decode()
                phones.append((events[i].sample, mnemonic))
            i += 1
        if wav and count:
            samples.frombytes(ctypes.string_at(wav, 2 * count))
        return 0

    callback = CALLBACK(receive)
    synth_rate = library.espeak_Initialize(
        AUDIO_OUTPUT_SYNCHRONOUS, 0, None, INITIALIZE_PHONEME_EVENTS
    )
    if synth_rate != SYNTH_RATE:
        raise RuntimeError(f"espeak-ng runs at {synth_rate} Hz, not {SYNTH_RATE}")
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise RuntimeError(f"espeak-ng has no voice {voice}")
    library.espeak_SetParameter(PARAMETER_RATE, rate, 0)
    library.espeak_SetParameter(PARAMETER_PITCH, pitch, 0)
    library.espeak_SetParameter(PARAMETER_RANGE, pitch_range, 0)
    text = sentence.encode()
    status = library.espeak_Synth(
        text, len(text) + 1, 0, POS_CHARACTER, 0, CHARS_UTF8, None, None
    )
    if status != 0 or library.espeak_Synchronize() != 0:
        raise RuntimeError(f"espeak-ng could not say: {sentence}")
    return samples, phones


# --------------------------------------------------------------------------
# Labels
# --------------------------------------------------------------------------


def segments_of(samples, phones, accent):
    """Segments (start, end, class) at SYNTH_RATE that cover all samples.

    The synthesizer reports a phone when its sound begins. What is silent before
    a phone (exact zeros) would go to the phone before it: it is the closure of
    a stop, or a pause.
    """
    mapping = {**PHONE_MAP, **ACCENT_MAP.get(accent, {})}
    classes = []
    for start, mnemonic in phones:
        if mnemonic in CONTINUATIONS:
            continue
        if mnemonic not in mapping:
            raise RuntimeError(f"no class for the mnemonic {mnemonic!r} of {accent}")
        classes.append((start, mapping[mnemonic]))

    segments = []
    previous_start, previous = 0, "SIL"
    for start, name in classes + [(len(samples), "SIL")]:
        start = min(start, len(samples))
        if start < previous_start:
            raise RuntimeError("phones are out of order")
        silent = start
        while silent > previous_start and samples[silent - 1] == 0:
            silent -= 1
        if previous == "SIL" or start - silent < MIN_ZEROS * SYNTH_RATE:
            silent = start
        segments.append((previous_start, silent, previous))
        if silent < start:
            closure = name in STOPS or name == "SIL"
            pause = start - silent >= MIN_PAUSE * SYNTH_RATE
            gap = name if closure or not pause else "SIL"
            segments.append((silent, start, gap))
        previous_start, previous = start, name
    segments.append((previous_start, len(samples), previous))

    # Join neighbors of one class only if they are pauses: two phones of a
    # class in a row stay what they are, which makes no difference to frames.
    joined = []
    for start, end, name in segments:
        if start == end:
            continue
        if joined and name == "SIL" and joined[-1][2] == "SIL":
            joined[-1] = (joined[-1][0], end, name)
        else:
            joined.append((start, end, name))

    # A pause between two phones that is too short to be one belongs to the
    # phone after it.
    result = []
    for i, (start, end, name) in enumerate(joined):
        inner = 0 < i < len(joined) - 1
        if name == "SIL" and inner and end - start < MIN_PAUSE * SYNTH_RATE:
            name = joined[i + 1][2]
        result.append((start, end, name))
    return result


def frame_labels(count, segments, offset):
    """Class number of each frame: that of the sample at the frame's center.

    `segments` are at SYNTH_RATE, `offset` is the first sample of the utterance
    on their axis; all that lies outside is silence.
    """
    number = {name: i for i, name in enumerate(PHONES)}
    labels = []
    at = 0
    for frame in range((count - WINDOW) // HOP + 1):
        center = HOP * frame + WINDOW // 2
        position = offset + center * DOWN / UP
        while at < len(segments) - 1 and position >= segments[at][1]:
            at += 1
        start, end, name = segments[at]
        labels.append(number[name] if start <= position < end else 0)
    return labels


# --------------------------------------------------------------------------
# Utterances
# --------------------------------------------------------------------------


def make_utterance(job):
    """Synthesize, label, cut, resample and write one utterance."""
    utterance, voice, pitch, pitch_range, rate, sentence, path = job
    samples, phones = synthesize(voice, pitch, pitch_range, rate, sentence)
    segments = segments_of(samples, phones, voice.split("+")[0])

    # Edges: a random piece of silence before the first and after the last phone.
    rng = rng_for("audio", utterance)
    spoken = [s for s in segments if s[2] != "SIL"]
    edges = []
    for _ in range(2):
        low, high = EDGE_SECONDS
        edges.append(int(SYNTH_RATE * (low + (high - low) * rng.random())))
    first = spoken[0][0] - edges[0]
    last = spoken[-1][1] + edges[1]
    cut = array.array("h", [0] * max(0, -first))
    cut.extend(samples[max(0, first) : last])
    cut.extend([0] * max(0, last - len(samples)))

    speech = resample(cut)
    labels = frame_labels(len(speech), segments, first)
    if len(speech) <= MIN_SECONDS * RATE:
        raise RuntimeError(f"{utterance} is only {len(speech) / RATE:.2f} s long")

    # A low-pass, different for each utterance: the synthesizer's voices have far
    # more treble than people's, and each person is recorded in one way only.
    pole = TILT_POLE[0] + (TILT_POLE[1] - TILT_POLE[0]) * rng.random()
    state = 0.0
    for i, sample in enumerate(speech):
        state = pole * state + (1.0 - pole) * sample
        speech[i] = state

    # Level, gain and noise.
    rms = math.sqrt(math.fsum(s * s for s in speech) / len(speech))
    level_db = NOMINAL_DBFS + GAIN_DB * (2.0 * rng.random() - 1.0)
    snr_db = SNR_DB[0] + (SNR_DB[1] - SNR_DB[0]) * rng.random()
    pole = NOISE_POLE[0] + (NOISE_POLE[1] - NOISE_POLE[0]) * rng.random()
    level = 32768.0 * 10.0 ** (level_db / 20.0)
    gain = level / rms
    noise_level = level * 10.0 ** (-snr_db / 20.0)
    noise = colored_noise(len(speech), rng, pole)
    final = [round(gain * s + noise_level * n) for s, n in zip(speech, noise)]
    if max(map(abs, final)) > 32767:
        raise RuntimeError(f"{utterance} would be clipped")

    pcm = array.array("h", final)
    if sys.byteorder == "big":
        pcm.byteswap()
    with tempfile.NamedTemporaryFile(suffix=".raw") as raw:
        raw.write(pcm.tobytes())
        raw.flush()
        subprocess.run(["flac", *FLAC_OPTIONS, "-o", path, raw.name], check=True)
    return utterance, len(final), labels


def plan(out):
    """All utterances as jobs, and the two splits."""
    jobs, train, test = [], [], []
    for speaker, voice, pitch, pitch_range, rate in VOICES:
        # A chapter is a number that means nothing here, as long as it is unique.
        chapter = 100000 + 7 * speaker
        folder = os.path.join(out, str(speaker), str(chapter))
        os.makedirs(folder)
        rng = rng_for("sentences", str(speaker))
        chosen = shuffled(range(len(SENTENCES)), rng)[:UTTERANCES_PER_SPEAKER]
        held_out = set(shuffled(range(UTTERANCES_PER_SPEAKER), rng)[:TEST_PER_SPEAKER])
        for i, sentence in enumerate(chosen):
            utterance = f"{speaker}-{chapter}-{i:04d}"
            (test if i in held_out else train).append(utterance)
            path = os.path.join(folder, utterance + ".flac")
            jobs.append(
                (utterance, voice, pitch, pitch_range, rate, SENTENCES[sentence], path)
            )
    return jobs, train, test


def write_lines(out, name, lines):
    with open(os.path.join(out, name), "w", encoding="ascii", newline="\n") as f:
        f.writelines(line + "\n" for line in lines)


def sha256_of(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def checksums(out):
    """Lines of SHA256SUMS, in the order of the names."""
    names = []
    for folder, _, files in os.walk(out):
        for name in files:
            relative = os.path.relpath(os.path.join(folder, name), out)
            names.append(relative.replace(os.sep, "/"))
    names = sorted(n for n in names if n != "SHA256SUMS")
    return [f"{sha256_of(os.path.join(out, n))}  {n}" for n in names]


def make(out, workers):
    """Write the corpus into the empty folder `out` and report about it."""
    jobs, train, test = plan(out)
    # One process an utterance: see `synthesize`.
    context = multiprocessing.get_context("fork")
    with context.Pool(workers, maxtasksperchild=1) as pool:
        results = list(pool.imap(make_utterance, jobs, chunksize=1))

    write_lines(out, "phones.txt", [f"{i} {p}" for i, p in enumerate(PHONES)])
    write_lines(
        out,
        "phone_labels.txt",
        [" ".join([u] + [str(x) for x in labels]) for u, _, labels in results],
    )
    write_lines(out, "train_split.txt", train)
    write_lines(out, "test_split.txt", test)
    transcript = lambda s: re.sub(r"[^A-Z' ]", "", s.upper())
    write_lines(out, "transcripts.txt", [f"{j[0]} {transcript(j[5])}" for j in jobs])
    write_lines(out, "speakers.txt", [" ".join(map(str, v)) for v in VOICES])
    sums = checksums(out)
    write_lines(out, "SHA256SUMS", sums)

    seconds = {u: n / RATE for u, n, _ in results}
    size = sum(
        os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(out) for f in fs
    )
    histogram = [0] * len(PHONES)
    for _, _, labels in results:
        for label in labels:
            histogram[label] += 1
    total = sum(histogram)
    print(f"speakers {len(VOICES)}, utterances {len(jobs)}")
    for name, split in (("train", train), ("test", test)):
        duration = sum(seconds[u] for u in split)
        print(f"{name}: {len(split)} utterances, {duration:.1f} s")
    print(
        f"durations {min(seconds.values()):.2f} to {max(seconds.values()):.2f} s, "
        f"mean {sum(seconds.values()) / len(jobs):.2f} s, "
        f"total {sum(seconds.values()):.1f} s"
    )
    print(f"size {size} bytes in {len(sums) + 1} files")
    print(f"labels {total}, of {len(PHONES)} classes, in per cent:")
    shares = [f"{p} {100 * h / total:.2f}" for p, h in zip(PHONES, histogram)]
    for i in range(0, len(shares), 8):
        print("  " + ", ".join(shares[i : i + 8]))
    print(f"sha256 of SHA256SUMS {sha256_of(os.path.join(out, 'SHA256SUMS'))}")


def check(here, workers):
    """Make the corpus again and compare; true if all is the same."""
    kept = os.path.join(here, "speech-mini")
    same = True

    def expect(condition, message):
        nonlocal same
        if not condition:
            same = False
            print("differs:", message)

    with open(os.path.join(kept, "SHA256SUMS"), encoding="ascii") as f:
        listed = f.read().splitlines()
    expect(checksums(kept) == listed, "the files in speech-mini from SHA256SUMS")
    with open(os.path.join(here, "README.md"), encoding="utf-8") as f:
        readme = f.read()
    digest = sha256_of(os.path.join(kept, "SHA256SUMS"))
    expect(digest in readme, "the checksum of SHA256SUMS from README.md")
    with tempfile.TemporaryDirectory() as again:
        make(again, workers)
        fresh = checksums(again)
    for line in sorted(set(listed) ^ set(fresh)):
        expect(False, ("kept  " if line in listed else "fresh ") + line)
    print("same" if same else "not the same")
    return same


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description="Make the corpus speech-mini.")
    parser.add_argument("--out", default=os.path.join(here, "speech-mini"))
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    flac = subprocess.run(["flac", "--version"], capture_output=True, text=True)
    print("espeak-ng", load_espeak().espeak_Info(None).decode(), "/", flac.stdout.strip())

    if options.check:
        sys.exit(0 if check(here, options.workers) else 1)
    # Only a folder that this script made (or an empty one) is replaced.
    if os.path.isdir(options.out) and os.listdir(options.out):
        if not os.path.exists(os.path.join(options.out, "SHA256SUMS")):
            sys.exit(f"{options.out} is not empty and not the corpus")
        shutil.rmtree(options.out)
    os.makedirs(options.out, exist_ok=True)
    make(options.out, options.workers)


if __name__ == "__main__":
    main()
