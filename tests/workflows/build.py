"""Every workflow of the pack, written down once.

    python tests/workflows/build.py [--check]

writes `workflows/*.json`, what the page opens, and `tests/workflows/api/*.json`, the same for the server, which the
tests run; `--check` writes nothing and names the files that are not as they would be written. What a workflow is for,
its note on the page, is the text of its function. Photographs are `example.png`, which every ComfyUI has: whoever opens
a workflow puts their own there, and the tests do, by the title of the node.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from graph import Graph, Link

ROOT = Path(__file__).parents[2]


def face_swap() -> Graph:
    """## Face swap

    Put a photo in *Target* and one in *Source*, and press Run. Click a numbered box on Face Swap to swap only that
    face, and drag the slider to compare.

    The other settings have sensible defaults. For sharper faces, choose a **restorer**.

    Only swap faces of people who agreed.
    """
    g = Graph("face_swap")
    target, source = photo(g, "Target: whose face is replaced"), photo(g, "Source: whose face is put in")
    swap = g.node("CSCS_FaceSwap", target=target, source=source, room=620)
    g.node("CSCS_SaveImage", image=swap["image"], filename_prefix="CSCS/face_swap", room=300)
    g.node("PreviewAny", "What was done", source=swap["report"])
    return g


def several_people() -> Graph:
    """## Several people

    1. *Group*: the image with several people.
    2. *Who*: any photo of the person who gets *New face A*. Select Faces finds this person by similarity.
    3. The first face from the left gets *New face B*: the second Select Faces picks by number. Click its boxes to
       choose other faces.

    Each chain is Select, Align, Swap, Mask, Paste. The second one pastes into the result of the first.

    Only swap faces of people who agreed.
    """
    g = Graph("several_people")
    group = photo(g, "Group: several people")
    who = photo(g, "Who: the person to replace")
    new_a, new_b = photo(g, "New face A"), photo(g, "New face B")
    models = g.node("CSCS_LoadModel", column=0)
    found = g.node("CSCS_DetectFaces", image=group, faces_order="left-right", detector_model=models["detector"])
    g.node("CSCS_PreviewFaces", image=group, faces=found["faces"], room=300)
    known = g.node("CSCS_FaceIdentity", "Who, as an identity", image=who, detector_model=models["detector"])
    a = g.node("CSCS_FaceIdentity", "New face A", image=new_a, detector_model=models["detector"])
    b = g.node("CSCS_FaceIdentity", "New face B", image=new_b, detector_model=models["detector"])
    by_likeness = g.node(
        "CSCS_SelectFaces",
        "By likeness",
        image=group,
        faces=found["faces"],
        reference=known["identity"],
        detector=models["detector"],
        room=400,
    )
    by_number = g.node(
        "CSCS_SelectFaces",
        "By number",
        image=group,
        faces=found["faces"],
        faces_order="left-right",
        faces_index="0",
        room=400,
    )
    first = _swapped(g, group, by_likeness["faces"], a["identity"], models["swapper"])
    second = _swapped(g, first, by_number["faces"], b["identity"], models["swapper"])
    g.node("CSCS_SaveImage", image=second, filename_prefix="CSCS/several_people", room=300)
    g.node("PreviewAny", "Skipped faces, and why", source=by_likeness["skipped"])
    return g


def _swapped(g: Graph, image: Link, faces: Link, identity: Link, swapper: Link) -> Link:
    """One chain of crops: align, swap, mask, paste."""
    crops = g.node("CSCS_AlignFaces", image=image, faces=faces)
    swap = g.node("CSCS_SwapFaces", crops=crops["crops"], identity=identity, swapper=swapper)
    mask = g.node("CSCS_FaceMask", crops=swap["crops"], combine="multiply", kind="whole", keep_eyes=False)
    return g.node("CSCS_PasteFaces", image=image, crops=mask["crops"], room=400)["image"]


def identity_from_photos() -> Graph:
    """## One person from several photos

    Three photos become one identity. A photo of another person is left out. *Save Identity* saves it to a file that
    can identify the person, so the node is off: to switch it on, select it and press Ctrl+M.

    The swap below blends the identity from the photos with a saved one.

    Only swap faces of people who agreed.
    """
    g = Graph("identity_from_photos")
    one, two, three = (photo(g, f"Photo {number} of the person") for number in (1, 2, 3))
    batch = g.node("ImageBatch", image1=one, image2=two)
    batch = g.node("ImageBatch", image1=batch["IMAGE"], image2=three)
    person = g.node("CSCS_FaceIdentity", image=batch["IMAGE"], outlier_threshold=0.3)
    g.node("PreviewImage", "The photos, cut out", images=person["preview"])
    g.node("PreviewAny", "Which photos count", source=person["report"])
    g.node("CSCS_SaveIdentity", identity=person["identity"], filename="my person", muted=True)
    saved = g.node("CSCS_LoadIdentity", column=0)
    blend = g.node("CSCS_BlendIdentities", identity_a=person["identity"], identity_b=saved["identity"], share=0.4)
    g.node("PreviewImage", "Between the two", images=blend["preview"])
    target = photo(g, "Target: whose face is replaced")
    swap = g.node("CSCS_FaceSwap", target=target, identity=blend["identity"], room=620)
    g.node("CSCS_SaveImage", image=swap["image"], filename_prefix="CSCS/identity", room=300)
    return g


def proxy_pairs() -> Graph:
    """## Surrogates and proxy pairs

    The CSCS method makes two images from a photo: another image of the *same* person (source surrogate) and *another*
    person in the same place (target surrogate). Swapping one into the other should give the photo back, so a network
    can learn from them.

    *Proxy Pairs* writes them with a manifest to the output folder, ready for **cscs train**. Use 24 photos or more.

    Only use photos of people who agreed.
    """
    g = Graph("proxy_pairs")
    one, two = photo(g, "Photo 1"), photo(g, "Photo 2")
    batch = g.node("ImageBatch", image1=one, image2=two)
    found = g.node("CSCS_DetectFaces", image=batch["IMAGE"])
    crops = g.node("CSCS_AlignFaces", image=batch["IMAGE"], faces=found["faces"], resolution="256")
    for title, kind in (
        ("Same person, another picture", "CSCS_SourceSurrogate"),
        ("Same place, another person", "CSCS_TargetSurrogate"),
        ("Changed by hand", "CSCS_ExplicitAdaptation"),
    ):
        made = g.node(kind, crops=crops["crops"])
        g.node("PreviewImage", title, images=made["image"])
    pairs = g.node("CSCS_ProxyPairs", image=batch["IMAGE"], filename_prefix="CSCS/pairs", column=2, room=300)
    g.node("PreviewImage", "Some of the pairs", images=pairs["preview"])
    g.node("PreviewAny", "What was made", source=pairs["report"])
    return g


def re_age() -> Graph:
    """## Re-age by reference

    Put a photo in *Today* and a photo of the same person at another age in *Another age*. The age comes from that
    reference. Pose, expression, light and hair stay as they are today.

    **similarity** shows how similar the two faces are. A low value may mean two different people.

    Only swap faces of people who agreed.
    """
    g = Graph("re_age")
    today, then = photo(g, "Today"), photo(g, "Another age of the same person")
    aged = g.node("CSCS_ReAge", image=today, reference=then, room=400)
    g.node("CSCS_SaveImage", image=aged["image"], filename_prefix="CSCS/re_age", room=300)
    g.node("PreviewAny", "What was done", source=aged["report"])
    return g


def cross_domain() -> Graph:
    """## Painting to photo, photo to painting

    Top: the face from a painting in a photo. Bottom: the face from a photo in a painting, with its colours and brush
    strokes.

    Raise **colour** and **texture** to match the new face more closely to its surroundings.

    Only swap faces of people who agreed.
    """
    g = Graph("cross_domain")
    photograph, painting = photo(g, "Photo"), photo(g, "Painting")
    for name, target, source in (
        ("painting_to_photo", photograph, painting),
        ("photo_to_painting", painting, photograph),
    ):
        made = g.node("CSCS_CrossDomain", name.replace("_", " ").capitalize(), target=target, source=source, room=400)
        g.node("CSCS_SaveImage", image=made["image"], filename_prefix=f"CSCS/{name}", room=300)
        g.node("PreviewAny", "What was done", source=made["report"])
    return g


def stylise() -> Graph:
    """## Swap, then let a diffusion model redraw the face

    Cross-Domain swaps the face and crops it with some of its surroundings and a mask. A checkpoint of your choice
    redraws the masked area from the prompt, and Paste Faces puts the crop back.

    **denoise** at 0.25 keeps the person, at 0.6 it follows the prompt.

    Only swap faces of people who agreed.
    """
    g = Graph("stylise")
    target, source = photo(g, "Target: whose face is replaced"), photo(g, "Source: whose face is put in")
    checkpoint = g.node("CheckpointLoaderSimple")
    made = g.node("CSCS_CrossDomain", target=target, source=source, texture=0.0, room=400)
    good = g.node(
        "CLIPTextEncode",
        "In the style of",
        text="oil painting portrait, visible brush strokes",
        clip=checkpoint["CLIP"],
        room=60,
    )
    bad = g.node("CLIPTextEncode", "Not like", text="blurry, deformed", clip=checkpoint["CLIP"], room=60)
    latent = g.node("VAEEncode", pixels=made["crop_images"], vae=checkpoint["VAE"])
    latent = g.node("SetLatentNoiseMask", samples=latent["LATENT"], mask=made["crop_masks"])
    drawn = g.node(
        "KSampler",
        model=checkpoint["MODEL"],
        positive=good["CONDITIONING"],
        negative=bad["CONDITIONING"],
        latent_image=latent["LATENT"],
        seed=1,
        steps=20,
        cfg=6.0,
        sampler_name="dpmpp_2m",
        scheduler="karras",
        denoise=0.35,
    )
    pixels = g.node("VAEDecode", samples=drawn["LATENT"], vae=checkpoint["VAE"])
    pasted = g.node(
        "CSCS_PasteFaces", image=target, crops=made["crops"], faces_image=pixels["IMAGE"], feather=0.05, room=400
    )
    g.node("CSCS_SaveImage", image=pasted["image"], filename_prefix="CSCS/stylise", room=300)
    return g


def video() -> Graph:
    """## A video

    Faces are detected and tracked in every frame, so that the same person is swapped throughout. Set the track number
    in **tracks** of Select Faces; 0 is the person who appears first. Frames without a face stay as they are, so sound
    and image stay in sync.

    Split long videos into parts that fit into memory.

    Only swap faces of people who agreed.
    """
    g = Graph("video")
    loaded = g.node("LoadVideo")
    source = photo(g, "Source: whose face is put in")
    parts = g.node("GetVideoComponents", video=loaded["VIDEO"])
    found = g.node("CSCS_DetectFaces", image=parts["images"])
    person = g.node("CSCS_FaceIdentity", image=source)
    tracks = g.node("CSCS_TrackFaces", image=parts["images"], faces=found["faces"])
    chosen = g.node("CSCS_SelectFaces", image=parts["images"], faces=tracks["faces"], tracks="0", room=400)
    crops = g.node("CSCS_AlignFaces", image=parts["images"], faces=chosen["faces"], resolution="256")
    swap = g.node("CSCS_SwapFaces", crops=crops["crops"], identity=person["identity"])
    pasted = g.node("CSCS_PasteFaces", image=parts["images"], crops=swap["crops"], room=400)
    made = g.node("CreateVideo", images=pasted["image"], fps=parts["fps"], audio=parts["audio"])
    g.node("SaveVideo", video=made["VIDEO"], filename_prefix="CSCS/video")
    g.node("PreviewAny", "Who was followed", source=tracks["report"])
    return g


def quality_report() -> Graph:
    """## Which swapper is better here?

    The same swap with **lite** and with **warp**; Restore Faces makes the first one clearer. Face Report measures both:
    similarity to the source and to the original face, pose, expression, and whether the seam shows.

    Only swap faces of people who agreed.
    """
    g = Graph("quality_report")
    target, source = photo(g, "Target: whose face is replaced"), photo(g, "Source: whose face is put in")
    models = g.node("CSCS_LoadModel", column=0)
    person = g.node("CSCS_FaceIdentity", image=source, detector_model=models["detector"])
    for swapper in ("lite", "warp"):
        swap = g.node(
            "CSCS_FaceSwap",
            f"Swap by {swapper}",
            target=target,
            identity=person["identity"],
            swapper=swapper,
            column=2,
            room=560,
        )
        image = swap["image"]
        if swapper == "lite":
            image = g.node(
                "CSCS_RestoreFaces", image=image, restorer=models["restorer"], faces=swap["faces"], room=400
            )["image"]
        report = g.node(
            "CSCS_FaceReport",
            f"Report on {swapper}",
            target=target,
            result=image,
            identity=person["identity"],
            mask=swap["mask"],
            detector=models["detector"],
            column=4,
            room=420,
        )
        g.node("PreviewImage", f"{swapper}: before and after", images=report["picture"])
    return g


def photo(g: Graph, title: str) -> Link:
    return g.node("LoadImage", title, image="example.png", column=0)["IMAGE"]


ALL: tuple[Callable[[], Graph], ...] = (
    face_swap,
    several_people,
    identity_from_photos,
    proxy_pairs,
    re_age,
    cross_domain,
    stylise,
    video,
    quality_report,
)


def note(build: Callable[[], Graph]) -> str:
    """What a workflow says of itself, each paragraph and each point of a list on one line."""
    words = inspect.getdoc(build) or ""
    return re.sub(r"(?<=\S)\n(?! *\d\. |\n) *", " ", words)


def files() -> dict[Path, str]:
    """What every file should hold."""
    made = {}
    for build in ALL:
        graph = build()
        graph.words = note(build)
        made[ROOT / "workflows" / f"{graph.name}.json"] = json.dumps(graph.page(), indent=2) + "\n"
        made[ROOT / "tests" / "workflows" / "api" / f"{graph.name}.json"] = json.dumps(graph.api(), indent=2) + "\n"
    return made


def main(arguments: list[str]) -> int:
    made = files()
    stale = [path for path, text in made.items() if not path.is_file() or path.read_text("utf-8") != text]
    stray = [path for folder in {path.parent for path in made} for path in folder.glob("*.json") if path not in made]
    if "--check" in arguments:
        sys.stderr.write("".join(f"{path.relative_to(ROOT)}\n" for path in [*stale, *stray]))
        return 1 if stale or stray else 0
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(made[path], "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
